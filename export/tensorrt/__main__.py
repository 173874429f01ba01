"""``python -m export.tensorrt``: build what a GPU runs of each leaf that TensorRT takes, where it is missing.

``--check`` needs neither TensorRT nor a GPU: it holds all graphs that are built against the operators that
TensorRT documents. ``--graphs`` writes ``model.gpu.onnx`` alone, on any machine. Exit status: 0 all is there,
or passes; 1 some were refused; 2 wrong usage; 3 there is no TensorRT or no GPU.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import click

from export import samples
from export.choices import CHOICES, Engine, Precision
from export.profiles import GPU, GPU_GRAPH, ONNXRUNTIME
from export.tensorrt.adaptation import adapted
from export.tensorrt.checking import obstacles, outline
from export.tensorrt.engine import MissingGpuError, TensorRt
from export.tensorrt.plans import SOURCE, Record, RefusedError, refusal, write_graph, write_plan

REFUSED, NO_GPU = 1, 3
TIMINGS: Final = Path("/var/cache/adlens/timings")


@click.command(
    context_settings={"show_default": True, "auto_envvar_prefix": "ADLENS_TENSORRT", "max_content_width": 110}
)
@click.argument("models", nargs=-1)
@click.option(
    "--repository",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=samples.REPOSITORY,
    show_default=False,
    help="Of models that are built.",
)
@click.option("--check", is_flag=True, help="Only hold the graphs against TensorRT's documentation.")
@click.option("--graphs", is_flag=True, help="Only write model.gpu.onnx, which needs no GPU.")
@click.option(
    "--precision",
    type=click.Choice([each.value for each in Precision]),
    help="Not that of each one's choice.",
)
@click.option(
    "--fall-back",
    is_flag=True,
    help=f"Have ONNX Runtime run, in the profile {GPU}, what TensorRT refuses.",
)
@click.option("--timings", type=click.Path(path_type=Path), default=TIMINGS, help="TensorRT's timing cache.")
def main(
    models: tuple[str, ...],
    repository: Path,
    check: bool,
    graphs: bool,
    precision: str | None,
    fall_back: bool,
    timings: Path,
) -> None:
    """Build the plans of MODELS, by default of all leaves that TensorRT runs, where they are out of date."""
    takes = {name: choice for name, choice in CHOICES.items() if choice.engine is Engine.TENSORRT}
    if unknown := set(models) - set(takes):
        raise click.BadParameter(
            f"TensorRT does not run {', '.join(sorted(unknown))}; it runs {', '.join(takes)}"
        )
    chosen = {name: takes[name] for name in models or takes}
    if precision is not None:
        chosen = {name: replace(choice, precision=Precision(precision)) for name, choice in chosen.items()}
    if check:
        sys.exit(REFUSED if list(_checked(chosen, repository)) else 0)
    try:
        builder = None if graphs else TensorRt()
    except MissingGpuError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(NO_GPU)
    tensors = samples.collect(repository)
    for _ in samples.write(repository, tensors):
        pass
    refused = False
    for name, choice in chosen.items():
        folder = repository / name / "1"
        try:
            record = write_graph(name, choice, folder, tensors)
            if builder is not None:
                record = write_plan(name, choice, folder, tensors, builder, timings)
            click.echo(_summary(record), err=True)
        except RefusedError as error:
            refused = True
            click.echo(f"refused: {error}", err=True)
            if fall_back:
                _fall_back(repository / name)
    sys.exit(REFUSED if refused and not fall_back else 0)


def _fall_back(model: Path) -> None:
    """Have ONNX Runtime run a leaf in the profile for plans: the graph for TensorRT if there is one."""
    text = (model / "configs" / f"{ONNXRUNTIME}.pbtxt").read_text(encoding="utf-8")
    if not (model / "1" / GPU_GRAPH).exists():
        text = text.replace(GPU_GRAPH, SOURCE)
    (model / "configs" / f"{GPU}.pbtxt").write_text(text, encoding="utf-8")


def _checked(chosen: Iterable[str], repository: Path) -> Iterator[str]:
    """Leaves whose graph, as it is handed over, TensorRT does not take; what is not built is left out."""
    for name in chosen:
        file = repository / name / "1" / SOURCE
        if not file.exists():
            click.echo(f"{name}: not built", err=True)
        # In any precision: what takes single takes half.
        elif found := obstacles(adapted(outline(file), Precision.FP32)):
            click.echo(f"{name}: {refusal(found)}", err=True)
            yield name
        else:
            click.echo(f"{name}: TensorRT takes it", err=True)


def _summary(record: Record) -> str:
    parity = ", ".join(f"batch {size}: {gap:.1e}" for size, gap in record.parity.items()) or "up to date"
    where = f" for {record.device.name} (TensorRT {record.device.tensorrt})" if record.device else ""
    return f"{record.model}: {record.precision}{where}, against ONNX Runtime {parity}"


if __name__ == "__main__":
    main(prog_name="python -m export.tensorrt")
