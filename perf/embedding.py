"""Time of embedding 64 faces in one request, beside the bare network on a batch of 64 chips.

Three ways take turns over the same faces, A B C A B C, so that a drifting machine harms all alike, and they
must agree:

* graph: the served graph in this process: align, embed a few at a time, scatter back; on several threads as
  the server does it, with the pictures of the batch side by side;
* network: what that graph embeds with, cut out of it, on all its chips at once;
* served: the graph over gRPC, as one request to a running server, if one is given; of it computed, what
  Triton counts as the model's, without the way of five megabytes of canvases there.

The first two compute with the given number of threads, the server with what the model's configuration says.
The faces are those of the given pictures, each repeated until it fills a canvas and all its slots. Not
measured: decoding, detection, other requests at the same time.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import onnx
import onnxruntime
import tritonclient.grpc as triton
from numpy.typing import NDArray
from onnx import helper
from PIL import Image, ImageOps

from adlens import contract, pictures
from adlens.transport import Connection, Endpoint
from perf.analyzer import ADMIN_HEADER
from perf.throughput import machine

CHECKOUT: Final = Path(__file__).parent.parent
PICTURES: Final = 4
ABREAST: Final = math.isqrt(contract.MAX_FACES)
"""Faces side by side on a canvas, and one above the other."""
TILE: Final = contract.CANVAS // ABREAST
PREFIX: Final = "network/"
"""Of all names of the network in the graph (``export.networks.embeddings.splice``)."""
TOLERANCE: Final = 1e-4
Feed = dict[str, NDArray[Any]]
Floats = NDArray[np.float32]


def read_model(name: str) -> onnx.ModelProto:
    """The served graph of a leaf."""
    return onnx.load(CHECKOUT / "model_repository" / name / "1" / "model.onnx")


def session(model: onnx.ModelProto, threads: int = 1) -> onnxruntime.InferenceSession:
    """``model``, ready to run."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    # Threads that spin on after a run take a core from the way whose turn it is.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def crowds(images: Sequence[Image.Image]) -> Feed:
    """Canvases full of faces: one for each image, of its first face alone.

    Raises:
        ClickException: an image has no face.
    """
    detector = session(read_model(contract.DETECT_FACES))
    pixels, landmarks = zip(*(_crowd(image, detector) for image in images), strict=True)
    return {
        contract.PIXELS: np.stack(pixels),
        contract.LANDMARKS: np.stack(landmarks),
        contract.FACE_COUNT: np.full((len(images), 1), contract.MAX_FACES, np.int32),
    }


def _crowd(image: Image.Image, detector: onnxruntime.InferenceSession) -> tuple[NDArray[np.uint8], Floats]:
    """PIXELS and LANDMARKS of one canvas."""
    image = ImageOps.contain(image, (contract.CANVAS, contract.CANVAS))
    canvas = np.zeros((1, contract.CANVAS, contract.CANVAS, 3), np.uint8)
    canvas[0, : image.height, : image.width] = image
    names = [contract.BOXES, contract.LANDMARKS, contract.FACE_COUNT]
    boxes, landmarks, count = detector.run(names, {contract.PIXELS: canvas})
    if not count:
        raise click.ClickException("a picture without a face; give others")
    near, far = boxes[0, 0, :2], boxes[0, 0, 2:]
    side = round(2 * float(max(far - near)))
    corner = np.rint((near + far - side) / 2).astype(int)
    tile = np.asarray(image.crop((*corner, *(corner + side))).resize((TILE, TILE)))
    face = (landmarks[0, 0] - corner) * (TILE / side)
    rows, columns = np.divmod(np.arange(contract.MAX_FACES), ABREAST)
    corners = TILE * np.stack([columns, rows], axis=1)
    return np.tile(tile, (ABREAST, ABREAST, 1)), (corners[:, np.newaxis] + face).astype(np.float32)


def take_apart(model: onnx.ModelProto, feed: Feed) -> tuple[onnx.ModelProto, Floats]:
    """The network that ``model`` embeds with, alone, and the chips float32 [M, 3, S, S] it is given."""
    giving = onnx.ModelProto()
    giving.CopyFrom(model)
    loop = next(node for node in giving.graph.node if node.op_type == "Loop")
    body = next(attribute.g for attribute in loop.attribute if attribute.name == "body")
    enter, *nodes = [node for node in body.node if node.output[0].startswith(PREFIX)]
    chips, found = enter.output[0], nodes[-1].output[0]
    # What a body gives out beyond its state, the loop gives out of each turn.
    for graph in (body, giving.graph):
        graph.output.append(helper.make_tensor_value_info(chips, onnx.TensorProto.FLOAT, None))
    loop.output.append(chips)
    turns = session(giving).run([chips], feed)[0]
    values = turns.reshape(-1, *turns.shape[2:])
    alone = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info(chips, onnx.TensorProto.FLOAT, ["faces", *values.shape[1:]])],
        [helper.make_tensor_value_info(found, onnx.TensorProto.FLOAT, None)],
        [value for value in body.initializer if value.name.startswith(PREFIX)],
    )
    network = helper.make_model(alone, opset_imports=model.opset_import, ir_version=model.ir_version)
    return network, values


def measure(
    feed: Feed, embedder: str, url: str | None, admin_token: str, rounds: int, threads: int
) -> dict[str, Any]:
    """Milliseconds of each way, and how they compare to the network alone, round by round.

    Raises:
        ClickException: they do not agree.
    """
    name = contract.embed_model(embedder)
    model = read_model(name)
    network, chips = take_apart(model, feed)
    whole, alone = session(model), session(network, threads)

    def run_network() -> Floats:
        (found,) = alone.run(None, {network.graph.input[0].name: chips})
        return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True))

    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(threads))
        ways: dict[str, Callable[[], Floats]] = {
            "graph": lambda: side_by_side(whole, feed, pool, threads),
            "network": run_network,
        }
        computed: Callable[[], float] | None = None
        if url:
            connection = stack.enter_context(Connection(Endpoint(url)))
            ways["served"] = lambda: connection.infer(name, feed).outputs[contract.FACE_EMBEDDING]
            computed = ComputeTime(stack.enter_context(triton.InferenceServerClient(url)), name, admin_token)
        took = _take_turns(ways, rounds, computed)
    ratios = {
        way: [a / b for a, b in zip(took[way], took["network"], strict=True)]
        for way in took
        if way != "network"
    }
    return {
        "faces": len(chips),
        "ms": {way: round(statistics.median(each), 1) for way, each in took.items()},
        "least_ms": {way: round(min(each), 1) for way, each in took.items()},
        "ratio_to_network": {way: round(statistics.median(each), 3) for way, each in ratios.items()},
        "ratios": {way: [round(ratio, 3) for ratio in each] for way, each in ratios.items()},
        "rounds": rounds,
        "threads": threads,
        "load": round(os.getloadavg()[0], 2),
        "machine": machine(),
    }


def side_by_side(
    graph: onnxruntime.InferenceSession, feed: Feed, pool: ThreadPoolExecutor, count: int
) -> Floats:
    """What ``graph`` finds, on ``count`` parts of the batch at a time, as the onnxruntime backend runs it."""
    parts = [np.array_split(value, count) for value in feed.values()]
    feeds = [dict(zip(feed, part, strict=True)) for part in zip(*parts, strict=True)]
    found = pool.map(lambda each: graph.run([contract.FACE_EMBEDDING], each)[0], feeds)
    return np.concatenate(list(found))


COUNTED_WITHIN_S: Final = 2.0


class ComputeTime:
    """Tells the milliseconds that a server has computed for a model since it was last asked."""

    def __init__(self, client: triton.InferenceServerClient, model: str, admin_token: str) -> None:
        self._client, self._model = client, model
        self._headers = {ADMIN_HEADER: admin_token}
        self._count, self._total_ms = self._told()

    def __call__(self) -> float:
        """The milliseconds, from Triton's statistics, which count a request only after its answer is sent."""
        deadline = time.monotonic() + COUNTED_WITHIN_S
        count, total_ms = self._told()
        while count == self._count and time.monotonic() < deadline:
            time.sleep(COUNTED_WITHIN_S / 100)
            count, total_ms = self._told()
        since = total_ms - self._total_ms
        self._count, self._total_ms = count, total_ms
        return since

    def _told(self) -> tuple[int, float]:
        (told,) = self._client.get_inference_statistics(self._model, headers=self._headers).model_stats
        computed = told.inference_stats.compute_infer
        return int(computed.count), float(computed.ns) / 1e6


def _take_turns(
    ways: dict[str, Callable[[], Floats]], rounds: int, computed: Callable[[], float] | None
) -> dict[str, list[float]]:
    """Milliseconds of each way in each round, and of what the server ``computed``."""
    took: dict[str, list[float]] = defaultdict(list)
    expected = ways["network"]()
    for number in range(rounds + 1):
        for way, run in ways.items():
            began = time.perf_counter()
            found = run()
            elapsed_ms = 1e3 * (time.perf_counter() - began)
            if not np.allclose(found.reshape(expected.shape), expected, rtol=0, atol=TOLERANCE):
                raise click.ClickException(f"{way} finds other embeddings than the network alone")
            if number:  # the first warms up
                took[way].append(elapsed_ms)
        if computed is not None:
            computed_ms = computed()
            if number:
                took["computed"].append(computed_ms)
    return took


@click.command(context_settings={"show_default": True, "auto_envvar_prefix": "ADLENS_BENCH"})
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--url", envvar="ADLENS_URL", help="Measure this server, too.")
@click.option("--admin-token", default="", help="The server's, for its statistics.")
@click.option("--embedder", default=contract.EMBEDDER)
@click.option("--rounds", type=click.IntRange(1), default=7)
@click.option("--threads", type=click.IntRange(1), default=1, help="Of the two ways in this process.")
def main(folder: Path, url: str | None, admin_token: str, embedder: str, rounds: int, threads: int) -> None:
    """Measure with faces of the first pictures in FOLDER and print the figures as JSON."""
    paths = list(pictures.find_pictures(folder))[:PICTURES]
    if len(paths) < PICTURES:
        raise click.UsageError(f"{folder}: {len(paths)} pictures, and {PICTURES} are needed")
    images = [pictures.open_upright(pictures.load(path)) for path in paths]
    click.echo(json.dumps(measure(crowds(images), embedder, url, admin_token, rounds, threads), indent=2))


if __name__ == "__main__":
    main()
