"""Learn which version of a picture converts: ``python -m export.train_conversion --images DIR --data CSV``.

Reads past sends (a CSV, or planted outcomes of any folder of pictures), has the network of `vary_creative`
say how much each version looks like each variant, and learns from that and the context. Some products are
for the trees, others for the calibrators, and by yet others both are judged. Leaves the model,
``report.json`` and a reliability diagram in a folder; ``make models`` then exports it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
from numpy.typing import NDArray

from adlens import contract, vocabulary
from export import tables, train_variants, trees
from export.creative import (
    calibration,
    conversion,
    conversion_graph,
    logits,
    planted,
    records,
    reliability,
)
from export.creative.calibration import Calibrator, Score
from export.creative.conversion import ConversionModel
from export.creative.network import CreativeNetwork
from export.creative.reading import find_catalogue
from export.creative.records import Sends, check_outcomes, read_catalogue, read_sends
from export.creative.reliability import Reliability
from export.creative.story import load_judge
from export.datasets import DatasetError
from export.networks.attributes import digest
from export.weights import WeightsError, cache_folder, sha256

HELD_OUT: Final = train_variants.HELD_OUT / 2
"""Share of the products by which a model is judged."""
CALIBRATING: Final = train_variants.HELD_OUT / 2
"""Share of those from which the calibrators learn; the trees learn from the others.

Of both the judge of variants knows nothing, where it was trained on the same folder: it is surer of what it
knows, and calibrators fitted on that would promise too much for what it does not.
"""
MIN_KNOWN: Final = 100
"""Known outcomes that each of the three parts needs, of every target: with fewer a calibration is noise."""
MIN_EACH: Final = 10
"""Of these, at least so many of 0 and of 1."""
_STARTER_SENDS: Final = 10
"""Of every version: generated pictures are few."""
REPORT_FILE: Final = "report.json"
DIAGRAM_FILE: Final = "reliability.png"

Said = Mapping[str, tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]]


@dataclass(frozen=True)
class ConversionStory:
    """What a trained model says of itself, the first lines of its report."""

    trained_on: str
    starter: bool
    """Whether outcomes were planted, or logits came from starter weights."""
    held_out: Mapping[str, Mapping[str, Any]]
    """By target: the figures of ``reliability.Reliability``."""

    @property
    def skill(self) -> tuple[float, ...]:
        """Of each target; 0 where chance may do as well, or where it is no real one."""
        return tuple(
            0.0 if self.starter or found["auc"] <= found["auc_by_chance"] else round(2 * found["auc"] - 1, 4)
            for found in (self.held_out[target] for target in contract.TARGETS)
        )


@dataclass(frozen=True)
class Trained:
    """A model, and how it does on sends of products that nothing was learned from."""

    model: ConversionModel
    ways: Mapping[str, Mapping[str, Score]]
    """By target: the score of each way to calibrate, cross-validated on the products for that."""
    judgements: Mapping[str, Reliability]
    said: Said
    """By target: probabilities before and after calibration, and outcomes."""


def train(sends: Sends, looks: NDArray[np.float32], variants: tuple[str, ...], weights: str) -> Trained:
    """Learn, calibrate and judge.

    Args:
        sends: of pictures that could be read.
        looks: logits, float32 [pictures, variants, kinds], of the whole catalogue.
        variants: labels of the network that gave them.
        weights: of its card.

    Raises:
        DatasetError: there is too little to learn from.
    """
    learning, calibrating, held_out = split(sends)
    known_values = conversion.vocabulary_of(sends, variants, weights)
    model, ways = conversion.learn(learning, calibrating, looks, known_values)
    margins = model.margins(
        conversion.logits_of(held_out, looks, variants), conversion.places_of(held_out, known_values)
    )
    judgements, said = {}, {}
    for number, target in enumerate(contract.TARGETS):
        known = np.isfinite(held_out.outcomes[:, number])
        outcomes, margin = held_out.outcomes[known, number], margins[known, number]
        truth = None if held_out.truth is None else held_out.truth[known, number]
        calibrator = model.calibrators[number]
        said[target] = (Calibrator()(margin), calibrator(margin), outcomes)
        judgements[target] = reliability.judge(*said[target], calibrator.method, truth)
    return Trained(model, ways, judgements, said)


def split(sends: Sends) -> tuple[Sends, Sends, Sends]:
    """Sends to learn from, to calibrate by, and to judge by; no product is in two of them.

    Raises:
        DatasetError: one of them has too few known outcomes.
    """
    share = sends.catalogue.shares()[sends.pictures]
    parts = (
        sends.subset(share >= HELD_OUT + CALIBRATING),
        sends.subset((share >= HELD_OUT) & (share < HELD_OUT + CALIBRATING)),
        sends.subset(share < HELD_OUT),
    )
    names = ("the sends to learn from", "those to calibrate by", "those held out")
    for part, name in zip(parts, names, strict=True):
        check_outcomes(part, name, MIN_KNOWN, MIN_EACH)
    return parts


def write(trained: Trained, trained_on: str, starter: bool, folder: Path) -> ConversionStory:
    """Leave the model, ``report.json`` and a reliability diagram in ``folder``."""
    judgements = {target: found.to_json() for target, found in trained.judgements.items()}
    story = ConversionStory(trained_on, starter, judgements)
    learned = trained.model.vocabulary
    report = {
        **asdict(story),
        "variants": list(learned.variants),
        "variants_weights": learned.variants_weights,
        "calibrations_tried": {
            target: {way: asdict(score) for way, score in ways.items()}
            for target, ways in trained.ways.items()
        },
    }
    folder.mkdir(parents=True, exist_ok=True)
    # Without its report a folder is no model: it goes first and comes last.
    (folder / REPORT_FILE).unlink(missing_ok=True)
    conversion.save(trained.model, folder)
    reliability.draw(trained.said, trained.judgements, folder / DIAGRAM_FILE)
    (folder / REPORT_FILE).write_text(json.dumps(report, indent=2) + "\n")
    return story


def read(folder: Path) -> tuple[ConversionModel, ConversionStory]:
    """What ``write`` left in ``folder``.

    Raises:
        DatasetError: a file is missing, or is none of ours.
    """
    try:
        raw = json.loads((folder / REPORT_FILE).read_text())
        story = ConversionStory(str(raw["trained_on"]), bool(raw["starter"]), dict(raw["held_out"]))
        _ = story.skill  # all targets are there
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{folder}: no conversion model ({error}); train it again") from error
    return conversion.load(folder), story


def cached_conversion() -> Path:
    """Where training leaves the model that `make models` exports."""
    return cache_folder() / contract.CONVERSION


@dataclass(frozen=True)
class Judge:
    """The network whose logits the trees see, as `vary_creative` is or will be exported."""

    network: CreativeNetwork
    starter: bool

    @classmethod
    def load(cls, folder: Path | None = None) -> Judge:
        """The one in ``folder``; else that of an own training run, else a starter.

        Raises:
            DatasetError: ``creative.yaml`` cannot be read.
            WeightsError: weights cannot be had, or are none of ours.
        """
        network, story, _ = load_judge(folder) if folder else train_variants.load()
        return cls(network, story.starter)

    @property
    def weights(self) -> str:
        """As in its card."""
        return digest(self.network)[:16]


def train_on(
    sends: Sends, judge: Judge, starter: bool, folder: Path, name: str | None = None
) -> ConversionStory:
    """Have ``judge`` look at what was sent, learn from ``sends``, and leave the model in ``folder``.

    Args:
        sends: pictures among them that cannot be read are named, and left out.
        judge: gives the logits.
        starter: whether the outcomes were planted.
        folder: as for ``write``.
        name: of the pictures, as shown; that of their folder unless given.

    Raises:
        DatasetError: there is too little to learn from.
    """
    said = logits.compute_logits(judge.network, sends.catalogue)
    readable = sends.subset(np.isfinite(said).all(axis=(1, 2))[sends.pictures])
    trained = train(readable, said, judge.network.labels, judge.weights)
    judged = next(iter(trained.judgements.values())).sends
    outcomes = "planted outcomes of " if sends.truth is not None else ""
    told = (
        f"{outcomes}{len(readable)} sends of {len(set(readable.pictures.tolist()))} pictures in "
        f"{name or sends.catalogue.name}, judged on up to {judged} of them, of other products"
    )
    return write(trained, told, starter or judge.starter, folder)


def load(judge: Judge) -> tuple[ConversionModel, ConversionStory]:
    """The model of an own training run, else one that learns from generated pictures and planted outcomes.

    Args:
        judge: whose logits the served model will be given.

    Raises:
        DatasetError: the own one cannot be read, or has learned from another judge's logits.
    """
    own = cached_conversion()
    if not own.exists():
        recipe = "".join([judge.weights, *map(sha256, _code())])
        key = hashlib.sha256(recipe.encode()).hexdigest()[:12]
        starter = cache_folder() / "starter" / key / contract.CONVERSION
        if not (starter / REPORT_FILE).exists():
            generated = train_variants.generated_catalogue()
            sends = planted.plant(generated, judge.network.labels, sends_each=_STARTER_SENDS)
            train_on(sends, judge, True, starter, "generated pictures")
        return read(starter)
    model, story = read(own)
    learned, labels = model.vocabulary, judge.network.labels
    if (learned.variants, learned.variants_weights) != (labels, judge.weights):
        raise DatasetError(
            f"{own} has learned from the logits of {learned.variants_weights} for "
            f"{', '.join(learned.variants)}, and {contract.VARY_CREATIVE} is {judge.weights} for "
            f"{', '.join(labels)}: train it again with `python -m export.train_conversion`, or remove "
            "the folder"
        )
    return model, story


def sources() -> list[Path]:
    """Files on which what ``load`` gives, and what becomes of it, depends."""
    own = sorted(path for path in cached_conversion().glob("*") if path.suffix in (".json", ".ubj"))
    made = [Path(conversion_graph.__file__), Path(trees.__file__)]
    return [*train_variants.sources(), *_code(), *made, *own]


def _code() -> list[Path]:
    """Of what a starter is learned by."""
    modules = (calibration, conversion, logits, planted, records, reliability, tables, vocabulary)
    return [Path(__file__), *(Path(str(module.__file__)) for module in modules)]


@click.command(context_settings={"show_default": True, "auto_envvar_prefix": "ADLENS_TRAIN_CONVERSION"})
@click.option(
    "--images", type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the pictures [default: that of the CSV]",
)  # fmt: skip
@click.option(
    "--data", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CSV of sends; with --planted, of pictures.",
)  # fmt: skip
@click.option("--planted", "plant", is_flag=True, help="Send every version, and plant what comes of it.")
@click.option("--sends", default=4, type=click.IntRange(min=1), help="Of every version, where planted.")
@click.option("--shuffle", is_flag=True, help="Shuffle planted outcomes: nothing can be learned then.")
@click.option("--seed", default=planted.SEED, help="Of planted outcomes.")
@click.option(
    "--judge", type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder that train_variants left [default: what `make models` exports]",
)  # fmt: skip
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="[default: where `make models` looks]"
)
def main(
    images: Path | None,
    data: Path | None,
    plant: bool,
    sends: int,
    shuffle: bool,
    seed: int,
    judge: Path | None,
    out: Path | None,
) -> None:
    """Learn how likely which version of a picture converts, and judge that on held-out products."""
    if (data is None and not (plant and images)) or (shuffle and not plant):
        raise click.UsageError(
            "name a CSV of past sends by --data; or pictures by --images, with --planted (and --shuffle)"
        )
    folder = out or cached_conversion()
    pictures = images or Path()
    try:
        looking = Judge.load(judge)
        labels = looking.network.labels
        if data and not plant:
            known = read_sends(data, images, labels)
        else:
            catalogue, types = read_catalogue(data, images) if data else (find_catalogue(pictures), ())
            known = planted.plant(catalogue, labels, types, sends, seed, shuffle=shuffle)
        story = train_on(known, looking, plant, folder)
    except (DatasetError, WeightsError) as error:
        raise click.ClickException(str(error)) from error
    click.echo((folder / REPORT_FILE).read_text(), nl=False)
    if story.starter:
        click.echo("warning: learned from planted outcomes, or from starter logits: no real skill", err=True)
    click.echo(f"model, report and reliability diagram are in {folder}", err=True)


if __name__ == "__main__":
    main()
