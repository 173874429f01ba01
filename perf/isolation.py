"""What bad pictures do to good ones in the same batch, and what keeping them apart costs.

``repository FOLDER`` writes a model repository with the served ``decode`` in four ways: ``native`` has
neither gate nor isolation, as NVIDIA's backend; ``isolated`` runs a failed batch again by halves;
``gated`` looks at each file beforehand; ``protected`` does both, as it is served.

    python -m perf.isolation repository R
    python -m server --model-repository R -- python -m perf.isolation measure PICTURES

``measure`` asks a server of that repository:

* poison: requests all at once, some of them bad; how many of the good ones are answered;
* cost: clean traffic through ``native`` and ``protected`` in turns, A B B A, so that a drifting machine
  harms both alike; and, as a busy machine hides per cents, the gate's processor time by itself.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
from numpy.typing import NDArray

from adlens import contract, jpeg
from adlens.errors import AdlensError
from adlens.transport import Connection, Endpoint

SERVED: Final = Path(__file__).parent.parent / "ensembles" / contract.DECODE
WAYS: Final = {
    "native": {"adlens_isolation": "off"},
    "isolated": {},
    "gated": {"adlens_gate": "jpeg", "adlens_isolation": "off"},
    "protected": {"adlens_gate": "jpeg"},
}
"""Models by name, and the parameters that make them so."""
Jpeg = NDArray[np.uint8]


def write_repository(folder: Path) -> None:
    """Write the models of ``WAYS`` into ``folder``."""
    lines = (SERVED / "config.pbtxt").read_text().splitlines()
    common = "\n".join(line for line in lines if "adlens_" not in line)
    for name, parameters in WAYS.items():
        shutil.copytree(
            SERVED / "1",
            folder / name / "1",
            ignore=shutil.ignore_patterns("__pycache__"),
            dirs_exist_ok=True,
        )
        added = [
            f'parameters {{ key: "{key}" value: {{ string_value: "{value}" }} }}'
            for key, value in parameters.items()
        ]
        (folder / name / "config.pbtxt").write_text("\n".join([common, *added, ""]))


def bad(picture: Jpeg) -> Jpeg:
    """``picture`` without its quantisation tables, which no decoder can do without."""
    return np.frombuffer(picture.tobytes().replace(b"\xff\xdb", b"\xff\xee"), np.uint8)


def poison(connection: Connection, model: str, pictures: Sequence[Jpeg], count: int, bad_ones: int) -> int:
    """How many good requests are answered of ``count`` at once, of which ``bad_ones`` are bad."""
    step = count // bad_ones
    work = [pictures[number % len(pictures)] for number in range(count)]

    def answered(number: int) -> bool:
        is_bad = number % step == 0 and number < step * bad_ones
        try:
            connection.infer(
                model, {contract.IMAGE: (bad(work[number]) if is_bad else work[number])[np.newaxis]}
            )
        except AdlensError:
            return False
        return not is_bad

    with ThreadPoolExecutor(count) as pool:
        return Counter(pool.map(answered, range(count)))[True]


def rate(connection: Connection, model: str, pictures: Sequence[Jpeg], count: int, in_flight: int) -> float:
    """Pictures a second of clean traffic; any error is raised."""
    work = [pictures[number % len(pictures)][np.newaxis] for number in range(count)]
    with ThreadPoolExecutor(in_flight) as pool:
        began = time.perf_counter()
        list(pool.map(lambda image: connection.infer(model, {contract.IMAGE: image}), work))
        return count / (time.perf_counter() - began)


def gate_ms(pictures: Sequence[Jpeg], repetitions: int = 500) -> float:
    """Milliseconds of processor time that the gate takes for a picture, in this process."""
    files = [picture.tobytes() for picture in pictures]
    began = time.process_time()
    for number in range(repetitions):
        jpeg.inspect(files[number % len(files)])
    return 1e3 * (time.process_time() - began) / repetitions


def measure(
    url: str, pictures: Sequence[Jpeg], count: int, bad_ones: int, rounds: int, batch: int
) -> dict[str, Any]:
    """Both measurements; see the head of this file."""
    with Connection(Endpoint(url, retries=0)) as connection:
        for model in WAYS:
            rate(connection, model, pictures, batch, 16)
        answered = {model: poison(connection, model, pictures, count, bad_ones) for model in WAYS}
        rates: dict[str, list[float]] = {"native": [], "protected": []}
        for number in range(rounds):
            for model in sorted(rates, reverse=number % 2 == 1):
                rates[model].append(rate(connection, model, pictures, batch, 16))
    medians = {model: statistics.median(found) for model, found in rates.items()}
    gate = gate_ms(pictures)
    ratios = [a / b for a, b in zip(rates["protected"], rates["native"], strict=True)]
    return {
        "requests": count,
        "bad": bad_ones,
        "good_answered": answered,
        "of_good": count - bad_ones,
        "pictures_per_s": {model: round(median, 1) for model, median in medians.items()},
        "ratio": round(statistics.median(ratios), 4),
        "ratios": [round(ratio, 3) for ratio in sorted(ratios)],
        "gate_ms": round(gate, 4),
        "gate_share_of_all_cores": round(gate * medians["native"] / 1e3 / (os.cpu_count() or 1), 4),
    }


@click.group(context_settings={"show_default": True, "auto_envvar_prefix": "ADLENS_BENCH"})
def main() -> None:
    """Measure what bad pictures do to their neighbours, and what protection costs."""


@main.command("repository")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def repository_command(folder: Path) -> None:
    """Write the model repository to be served into FOLDER."""
    write_repository(folder)


@main.command("measure")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--url", default=lambda: os.environ.get("ADLENS_URL", "127.0.0.1:8001"), show_default=False)
@click.option("--count", default=64, help="Requests at once.")
@click.option("--bad", "bad_ones", default=8, help="Bad ones among them.")
@click.option("--rounds", default=30, help="Of clean traffic, each way.")
@click.option("--batch", default=80, help="Pictures a round and way.")
@click.option("--json", "as_json", is_flag=True, help="Figures for machines.")
def measure_command(
    folder: Path, url: str, count: int, bad_ones: int, rounds: int, batch: int, as_json: bool
) -> None:
    """Measure with the JPEG files of FOLDER."""
    pictures = [np.fromfile(path, np.uint8) for path in sorted(folder.glob("*.jpg"))]
    if not pictures:
        raise click.UsageError(f"{folder}: no .jpg file")
    if not 0 < bad_ones <= count:
        raise click.UsageError(f"--bad {bad_ones} of --count {count}; give 1 to {count}")
    figures = measure(url, pictures, count, bad_ones, rounds, batch)
    if as_json:
        click.echo(json.dumps(figures, indent=2))
        return
    for model, answered in figures["good_answered"].items():
        click.echo(
            f"{model:10} {answered} of {figures['of_good']} good requests answered, {bad_ones} bad beside"
        )
    click.echo(
        f"clean traffic: protected / native = {figures['ratio']}; the gate takes {figures['gate_ms']} ms"
    )


if __name__ == "__main__":
    main(prog_name="python -m perf.isolation")
