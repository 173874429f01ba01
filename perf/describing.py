"""Pictures a second of ``describe_posts``, beside the bare VGG16 in ONNX Runtime.

Ways take turns over the same pictures, A B C D A B C D, so that a drifting machine harms all alike:

* served: JPEG bytes over gRPC to a running server, from this process, a fixed number in flight, as
  ``adlens.describing`` sends the pictures of accounts;
* network: the VGG16 of the served graph, cut out of it, in this process, on squares that are there already:
  a one-thread session for each core, picture by picture; the server has one session, and runs two pictures
  of it side by side;
* wide: the same with one session on all cores;
* decode: the served DALI pipeline alone, a pipeline for each core.

Decoding and the network share the cores: a server that cost nothing would reach what both take together.
Not measured: large pictures, networks between client and server, reading files, pooling. Any failed request
ends the run.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import onnx
import psutil
from numpy.typing import NDArray

from adlens import contract
from adlens.transport import Connection, Endpoint
from perf.creative import between, squares_of
from perf.embedding import Feed, read_model, session
from perf.throughput import Jpeg, decoder, machine, medians, rate, read_pictures

TOLERANCE: Final = 1e-4
Floats = NDArray[np.float32]


class Decoding:
    """The served pipeline; one for each thread."""

    def __init__(self) -> None:
        self._local = threading.local()

    def run(self, jpeg: Jpeg) -> Feed:
        """What ``describe_post`` takes of a picture."""
        if not hasattr(self._local, "pipeline"):
            self._local.pipeline = decoder()
        pixels, sizes = self._local.pipeline.run(**{contract.IMAGE: [jpeg]})
        return {
            contract.PIXELS: np.array(pixels.as_array()),
            contract.PICTURE_SIZE: np.array(sizes.as_array(), np.int32),
        }


def cut_out(model: onnx.ModelProto) -> tuple[onnx.ModelProto, str, str]:
    """The VGG16 within ``model``, alone, and the names of its squares and of its last map.

    Raises:
        ClickException: there is none.
    """
    nodes = model.graph.node
    first = next((node.input[0] for node in nodes if node.op_type == "Conv"), None)
    last = [node.output[0] for node in nodes if node.op_type == "MaxPool"]
    if first is None or not last:
        raise click.ClickException("no VGG16 in the graph; build it by `make models`")
    return between(model, first, last[-1]), first, last[-1]


def measure(url: str, pictures: Sequence[Jpeg], count: int, rounds: int, in_flight: int) -> dict[str, Any]:
    """Pictures a second of each way, and how they compare, round by round.

    Raises:
        ClickException: the network that was cut out does not give what it gives within the graph, or the
            server says something else.
    """
    model = read_model(contract.DESCRIBE_POST)
    network, start, end = cut_out(model)
    cores = psutil.cpu_count() or 1
    decoding, alone, wide = Decoding(), session(network), session(network, cores)
    inner = squares_of(model, start, end, [decoding.run(jpeg) for jpeg in pictures])
    for squares, expected in inner:
        if not np.allclose(alone.run(None, {start: squares})[0], expected, rtol=0, atol=TOLERANCE):
            raise click.ClickException("the network alone gives something else than within the graph")
    each = [squares for squares, _ in inner]
    with Connection(Endpoint(url)) as connection:

        def serve(jpeg: Jpeg) -> Floats:
            answer = connection.infer(contract.DESCRIBE_POSTS, {contract.IMAGE: jpeg[np.newaxis]})
            return np.asarray(answer.outputs[contract.POST_FEATURES])

        maps = inner[0][1].transpose(0, 2, 3, 1).reshape(1, -1)
        if not np.allclose(serve(pictures[0]), maps, rtol=0, atol=TOLERANCE):
            raise click.ClickException("the server says something else than the graph in this checkout")
        ways: dict[str, Callable[[], float]] = {
            "served": lambda: rate(serve, pictures, count, in_flight),
            "network": lambda: rate(lambda some: alone.run(None, {start: some}), each, count, cores),
            "wide": lambda: rate(lambda some: wide.run(None, {start: some}), each, count, 1),
            "decode": lambda: rate(decoding.run, pictures, count, cores),
        }
        found: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(rounds):
            for way, run in ways.items():
                found[way].append(run())
    return _report(found) | {
        "in_flight": in_flight,
        "pictures": count,
        "rounds": rounds,
        "load": round(os.getloadavg()[0], 2),
        "machine": machine(),
    }


def _report(rates: dict[str, list[float]]) -> dict[str, Any]:
    """Medians over the rounds; ratios are taken within each round, to the better of the two bare ways."""
    columns = {way: np.array(each) for way, each in rates.items()}
    raw = np.maximum(columns["network"], columns["wide"])
    both = 1 / (1 / raw + 1 / columns["decode"])
    ratios = {
        "served_to_raw": columns["served"] / raw,
        "served_to_decode_and_raw": columns["served"] / both,
        "share_of_decode": both / columns["decode"],
    }
    return medians(rates, ratios)


@click.command(context_settings={"show_default": True, "auto_envvar_prefix": "ADLENS_BENCH"})
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--url", default=lambda: os.environ.get("ADLENS_URL", "127.0.0.1:8001"), show_default=False)
@click.option("--count", type=click.IntRange(1), default=64, help="Pictures a round and way.")
@click.option("--rounds", type=click.IntRange(1), default=3)
@click.option("--in-flight", type=click.IntRange(1), default=8)
def main(folder: Path, url: str, count: int, rounds: int, in_flight: int) -> None:
    """Measure with the JPEG files of FOLDER and print the figures as JSON."""
    click.echo(json.dumps(measure(url, read_pictures(folder), count, rounds, in_flight), indent=2))


if __name__ == "__main__":
    main()
