"""Pictures a second of ``predict_engagement``, beside the bare ResNet in ONNX Runtime.

Ways take turns over the same pictures, A B C D E F A B C D E F, so that a drifting machine harms all alike:

* served: JPEG bytes and a context over gRPC to a running server, from this process, a fixed number in flight;
* served_analyzer: the same requests from perf_analyzer, where its binary is given (``make analyzer``);
* network: the ResNet of the served graph, cut out of it, in this process, on squares that are there already:
  one session with a thread for each core;
* network_apart: the same, but a one-thread session for each core, as the server has them;
* decode: the served DALI pipeline alone, a pipeline for each core;
* in_process: that pipeline and the whole graph, for each core, picture by picture, and no server at all.

Decoding and the network share the cores: a server that cost nothing would reach what both take together. So
do callers, those in Python more than perf_analyzer.
Not measured: large pictures, networks between client and server. Any failed request ends the run.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import onnx
import psutil
from numpy.typing import NDArray
from onnx import helper

from adlens import contract
from adlens.transport import Connection, Endpoint
from perf.analyzer import Analyzer
from perf.creative import between, first_taken, reached, squares_of
from perf.embedding import Feed, read_model, session
from perf.throughput import Jpeg, decoder, machine, medians, rate, read_pictures

OUTPUTS: Final = [contract.ENGAGEMENT]
CONTEXT: Final = np.array([[18.5, 4, 120, 8, 52_000, 0]], np.float32)
"""POST of all requests."""
TOLERANCE: Final = 1e-3
_AVERAGED: Final = "averaged"
Floats = NDArray[np.float32]


class Stages:
    """What the server does of a picture, in this process; a pipeline for each thread."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._local = threading.local()
        self._graph = session(model)

    def decode(self, jpeg: Jpeg) -> Feed:
        """What ``engagement`` takes of a picture."""
        if not hasattr(self._local, "pipeline"):
            self._local.pipeline = decoder()
        pixels, sizes = self._local.pipeline.run(**{contract.IMAGE: [jpeg]})
        return {
            contract.PIXELS: np.array(pixels.as_array()),
            contract.PICTURE_SIZE: np.array(sizes.as_array(), np.int32),
            contract.POST: CONTEXT,
        }

    def run(self, jpeg: Jpeg) -> Floats:
        """ENGAGEMENT of a picture."""
        return np.asarray(self._graph.run(OUTPUTS, self.decode(jpeg))[0])


def cut_out(model: onnx.ModelProto) -> tuple[onnx.ModelProto, str, str]:
    """The ResNet within ``model``, alone, with its last average; names of its squares and its last layer.

    Raises:
        ClickException: there is none, as where it reads no pictures.
    """
    start = first_taken(model)
    after = reached(model, start)
    nodes = model.graph.node
    last = [node for node in nodes if node.op_type == "Conv" and node.input[0] in after][-1].output[0]
    for operator in ("Add", "Relu"):
        last = next(node for node in nodes if node.op_type == operator and last in node.input).output[0]
    network = between(model, start, last)
    network.graph.node.append(helper.make_node("GlobalAveragePool", [last], [_AVERAGED]))
    del network.graph.output[:]
    network.graph.output.append(helper.make_tensor_value_info(_AVERAGED, onnx.TensorProto.FLOAT, None))
    return network, start, last


def measure(
    url: str,
    pictures: Sequence[Jpeg],
    count: int,
    rounds: int,
    in_flight: int,
    batch: int,
    analyzer: Analyzer | None = None,
) -> dict[str, Any]:
    """Pictures a second of each way, and how they compare, round by round.

    Args:
        url: of the server.
        pictures: sent, and decoded here, in turn.
        count: a round and way.
        rounds: of all ways.
        in_flight: requests at a time.
        batch: squares a run of the bare network.
        analyzer: sends the same requests; None: that way is left out.

    Raises:
        ClickException: the network that was cut out does not give what it gives within the graph, or the
            server says something else than the graph.
    """
    model = read_model(contract.ENGAGEMENT_MODEL)
    network, start, last = cut_out(model)
    cores = psutil.cpu_count() or 1
    stages, alone, abreast = Stages(model), session(network), session(network, cores)
    feeds = [stages.decode(jpeg) for jpeg in pictures]
    inner = squares_of(model, start, last, feeds)
    for squares, expected in inner:
        (found,) = alone.run(None, {start: squares})
        if not np.allclose(found, expected.mean((2, 3), keepdims=True), rtol=0, atol=TOLERANCE):
            raise click.ClickException("the network alone gives something else than within the graph")
    squares = np.concatenate([each for each, _ in inner])
    batches = [
        np.take(squares, range(place, place + batch), axis=0, mode="wrap") for place in range(len(squares))
    ]
    turns = -(-count // batch)
    with Connection(Endpoint(url)) as connection:

        def serve(jpeg: Jpeg) -> Floats:
            request: Feed = {contract.IMAGE: jpeg[np.newaxis], contract.POST: CONTEXT}
            answer = connection.infer(contract.PREDICT_ENGAGEMENT, request, timeout_s=120)
            return np.asarray(answer.outputs[contract.ENGAGEMENT])

        if not np.allclose(serve(pictures[0]), stages.run(pictures[0]), rtol=0, atol=TOLERANCE):
            raise click.ClickException("the server says something else than the graph in this checkout")
        ways: dict[str, Callable[[], float]] = {
            "served": lambda: rate(serve, pictures, count, in_flight),
            "network": lambda: batch * rate(lambda some: abreast.run(None, {start: some}), batches, turns, 1),
            "network_apart": lambda: (
                batch * rate(lambda some: alone.run(None, {start: some}), batches, turns, cores)
            ),
            "decode": lambda: rate(stages.decode, pictures, count, cores),
            "in_process": lambda: rate(stages.run, pictures, count, cores),
        }
        if analyzer is not None:
            asked = analyzer
            ways["served_analyzer"] = lambda: asked.rate(contract.PREDICT_ENGAGEMENT, count, in_flight)
        found = {way: [] for way in ways}
        for _ in range(rounds):
            for way, run in ways.items():
                found[way].append(run())
    return _report(found) | {
        "in_flight": in_flight,
        "batch_of_network": batch,
        "pictures": count,
        "rounds": rounds,
        "load": round(os.getloadavg()[0], 2),
        "machine": machine(),
    }


def _report(rates: dict[str, list[float]]) -> dict[str, Any]:
    """Medians over the rounds; ratios are taken within each round."""
    columns = {way: np.array(each) for way, each in rates.items()}
    served, network, decode = (columns[way] for way in ("served", "network", "decode"))
    both = 1 / (1 / columns["network_apart"] + 1 / decode)
    light = columns.get("served_analyzer")
    lightly = (
        {}
        if light is None
        else {
            "served_analyzer_to_network": light / network,
            "served_analyzer_to_network_apart": light / columns["network_apart"],
            "served_analyzer_to_in_process": light / columns["in_process"],
        }
    )
    ratios = lightly | {
        "served_to_network": served / network,
        "served_to_network_apart": served / columns["network_apart"],
        "served_to_decode_and_network_apart": served / both,
        "served_to_in_process": served / columns["in_process"],
        "in_process_to_network_apart": columns["in_process"] / columns["network_apart"],
        "share_of_decode": both / decode,
    }
    return medians(rates, ratios)


@click.command(context_settings={"show_default": True, "auto_envvar_prefix": "ADLENS_BENCH"})
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--url", default=lambda: os.environ.get("ADLENS_URL", "127.0.0.1:8001"), show_default=False)
@click.option("--count", type=click.IntRange(1), default=96, help="Pictures a round and way.")
@click.option("--rounds", type=click.IntRange(1), default=3)
@click.option("--in-flight", type=click.IntRange(1), default=16)
@click.option(
    "--batch", type=click.IntRange(1), default=1, help="Of the bare network; the server makes none."
)
@click.option(
    "--analyzer",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Binary of perf_analyzer, which then sends requests as well.",
)
@click.option("--admin-token", default="", help="Of the server: perf_analyzer needs it.")
def main(
    folder: Path,
    url: str,
    count: int,
    rounds: int,
    in_flight: int,
    batch: int,
    analyzer: Path | None,
    admin_token: str,
) -> None:
    """Measure with the JPEG files of FOLDER and print the figures as JSON."""
    pictures = read_pictures(folder)
    rows = [{contract.IMAGE: jpeg, contract.POST: CONTEXT[0]} for jpeg in pictures]
    with tempfile.TemporaryDirectory() as own:
        other = Analyzer(analyzer, url, admin_token, rows, Path(own)) if analyzer else None
        report = measure(url, pictures, count, rounds, in_flight, batch, other)
    click.echo(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
