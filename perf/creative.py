"""Time of judging all variants of a picture, beside the bare ResNet on a batch of as many squares.

Three ways take turns over the same pictures, A B C A B C, so that a drifting machine harms all alike:

* graph: the served graph in this process, from PIXELS: frame, make all variants, trunk, head, embedding;
* network: the ResNet of that graph, cut out of it, from its first convolution to its last average, on the
  squares that the graph gives it;
* served: the graph over gRPC, as one request to a running server, if one is given.

The first two compute with the given number of threads, the server with what the model's configuration says.
Not measured: decoding, alternates, conversion, other requests at the same time.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper
from PIL import Image, ImageOps

from adlens import contract, pictures
from adlens.transport import Connection, Endpoint
from perf.embedding import Feed, read_model, session
from perf.throughput import machine

PICTURES: Final = 4
STEM: Final = [7, 7]
"""Kernel of a ResNet's first convolution, and of no other in the graph."""
TOLERANCE: Final = 1e-3
Floats = NDArray[np.float32]


def feed(image: Image.Image) -> Feed:
    """What ``vary_creative`` takes of a picture, all its variants wanted."""
    size = (image.height, image.width)
    if max(size) > contract.CANVAS:
        image = ImageOps.contain(image, (contract.CANVAS, contract.CANVAS))
    pixels = np.zeros((1, contract.CANVAS, contract.CANVAS, 3), np.uint8)
    pixels[0, : image.height, : image.width] = image
    return {
        contract.PIXELS: pixels,
        contract.PICTURE_SIZE: np.array([size], np.int32),
        contract.WANTED: np.ones((1, contract.MAX_VARIANTS), np.uint8),
    }


def cut_out(model: onnx.ModelProto) -> tuple[onnx.ModelProto, str, str]:
    """The ResNet within ``model``, alone, and the names of what it takes and gives.

    Raises:
        ClickException: there is none.
    """
    start = first_taken(model)
    after = reached(model, start)
    end = next(
        node.output[0] for node in model.graph.node if node.op_type == "ReduceMean" and node.input[0] in after
    )
    return between(model, start, end), start, end


def first_taken(model: onnx.ModelProto) -> str:
    """Name of what the first convolution of the ResNet within ``model`` takes.

    Raises:
        ClickException: there is none.
    """
    first = next(
        (node for node in model.graph.node if node.op_type == "Conv" and _kernel(node) == STEM), None
    )
    if first is None:
        raise click.ClickException("no ResNet in the graph; build it by `make models`")
    return str(first.input[0])


def reached(model: onnx.ModelProto, start: str) -> set[str]:
    """Names of all that is computed from ``start``, and its own."""
    after = {start}
    for node in model.graph.node:
        if after & set(node.input):
            after |= set(node.output)
    return after


def between(model: onnx.ModelProto, start: str, end: str) -> onnx.ModelProto:
    """What computes ``end`` from ``start`` in ``model``, alone."""
    needed, kept = {end}, []
    for node in reversed(model.graph.node):
        if needed & set(node.output):
            kept.append(node)
            needed |= set(node.input) - {start}
    alone = helper.make_graph(
        kept[::-1],
        "network",
        [helper.make_tensor_value_info(start, onnx.TensorProto.FLOAT, ["squares", 3, None, None])],
        [helper.make_tensor_value_info(end, onnx.TensorProto.FLOAT, None)],
        [value for value in model.graph.initializer if value.name in needed],
    )
    return helper.make_model(alone, opset_imports=model.opset_import, ir_version=model.ir_version)


def _kernel(node: onnx.NodeProto) -> list[int]:
    return next((list(each.ints) for each in node.attribute if each.name == "kernel_shape"), [])


def squares_of(model: onnx.ModelProto, start: str, end: str, feeds: Sequence[Feed]) -> list[list[Floats]]:
    """Of each picture what the ResNet within the graph takes and gives there."""
    giving = onnx.ModelProto()
    giving.CopyFrom(model)
    for name in (start, end):
        giving.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    opened = session(giving)
    return [opened.run([start, end], each) for each in feeds]


def measure(feeds: Sequence[Feed], url: str | None, rounds: int, threads: int) -> dict[str, Any]:
    """Milliseconds of each way, and how they compare to the network alone, picture by picture.

    Raises:
        ClickException: the network that was cut out does not give what it gives within the graph.
    """
    model = read_model(contract.VARY_CREATIVE)
    network, start, end = cut_out(model)
    inner = squares_of(model, start, end, feeds)
    whole, alone = session(model, threads), session(network, threads)
    for squares, expected in inner:
        if not np.allclose(alone.run(None, {start: squares})[0], expected, rtol=0, atol=TOLERANCE):
            raise click.ClickException("the network alone gives something else than within the graph")
    ways: dict[str, Callable[[int], object]] = {
        "graph": lambda row: whole.run([contract.VARIANT_LOGITS, contract.CREATIVE_EMBEDDING], feeds[row]),
        "network": lambda row: alone.run(None, {start: inner[row][0]}),
    }
    with ExitStack() as stack:
        if url:
            connection = stack.enter_context(Connection(Endpoint(url)))
            ways["served"] = lambda row: connection.infer(contract.VARY_CREATIVE, feeds[row])
        took = _take_turns(ways, len(feeds), rounds)
    ratios = {
        way: [a / b for a, b in zip(took[way], took["network"], strict=True)]
        for way in ways
        if way != "network"
    }
    return {
        "squares": len(inner[0][0]),
        "ms": {way: round(statistics.median(each), 1) for way, each in took.items()},
        "least_ms": {way: round(min(each), 1) for way, each in took.items()},
        "ratio_to_network": {way: round(statistics.median(each), 3) for way, each in ratios.items()},
        "ratio_of_least": {way: round(min(took[way]) / min(took["network"]), 3) for way in ratios},
        "ratios": {way: [round(ratio, 3) for ratio in each] for way, each in ratios.items()},
        "rounds": rounds,
        "threads": threads,
        "load": round(os.getloadavg()[0], 2),
        "machine": machine(),
    }


def _take_turns(ways: dict[str, Callable[[int], object]], count: int, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each way, for each round and picture."""
    took: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds + 1):
        for row in range(count):
            for way, run in ways.items():
                began = time.perf_counter()
                run(row)
                elapsed_ms = 1e3 * (time.perf_counter() - began)
                if number:  # the first warms up
                    took[way].append(elapsed_ms)
    return took


@click.command(context_settings={"show_default": True, "auto_envvar_prefix": "ADLENS_BENCH"})
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--url", envvar="ADLENS_URL", help="Measure this server, too.")
@click.option("--rounds", type=click.IntRange(1), default=7)
@click.option("--threads", type=click.IntRange(1), default=1, help="Of the two ways in this process.")
def main(folder: Path, url: str | None, rounds: int, threads: int) -> None:
    """Measure with the first pictures in FOLDER and below, and print the figures as JSON."""
    holders = pictures.find_users(folder)
    paths = [path for holder in holders for path in pictures.find_pictures(holder)][:PICTURES]
    if not paths:
        raise click.UsageError(f"{folder}: no picture in it; give a folder of pictures")
    feeds = [feed(pictures.open_upright(pictures.load(path))) for path in paths]
    click.echo(json.dumps(measure(feeds, url, rounds, threads), indent=2))


if __name__ == "__main__":
    main()
