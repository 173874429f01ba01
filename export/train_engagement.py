"""Learn how popular posts will be: ``python -m export.train_engagement --data posts.csv``.

Reads and cleans an export of past posts, learns from one part, stops and calibrates by another, and judges
once by a third, beside always saying the most frequent class. Leaves the model, ``report.json``, two diagrams
and ``MODEL_CARD.md`` in a folder; ``make models`` then exports it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import tzinfo
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import click

from adlens import contract
from adlens import posts as derived
from export import stories, tables
from export.creative import framing
from export.creative import network as trunks
from export.creative.network import BACKBONES
from export.datasets import DatasetError
from export.engagement import (
    calibration,
    classes,
    cleaning,
    columns,
    config,
    diagrams,
    evaluation,
    features,
    learning,
    modelcard,
    network,
    planted,
    posts,
    progress,
    scenes,
    splits,
    story,
    training,
)
from export.engagement.cleaning import CleaningReport, Rules, clean
from export.engagement.config import FILE, EngagementConfig, read_config
from export.engagement.learning import Schedule, Trained, learn
from export.engagement.network import CONTEXT, READS, EngagementNetwork
from export.engagement.posts import Posts, read_posts
from export.engagement.story import EngagementStory
from export.graph import Weights
from export.import_posts import reading_options
from export.weights import PUBLISHED, STARTER, WeightsError, cache_folder, sha256

STARTER_POSTS: Final = 400
STARTER_SCHEDULE: Final = Schedule(views=1)
"""Once is enough to show the way."""


def train(
    found: Posts,
    report: CleaningReport,
    configuration: EngagementConfig,
    schedule: Schedule,
    folder: Path,
    name: str,
    *,
    generated: bool = False,
) -> EngagementStory:
    """Learn from cleaned posts, judge, and leave everything in ``folder``.

    Args:
        found: what cleaning left.
        report: what it did.
        configuration: what is read, and what counts as high.
        schedule: how long.
        folder: for the result.
        name: of the posts, as shown.
        generated: whether they are, so that they tell nothing of real ones.

    Raises:
        DatasetError: there are too few posts, or none can be read.
        WeightsError: the weights cannot be had.
    """
    trained = learn(found, configuration, schedule)
    told = _tell(trained, report, configuration, schedule, name, generated)
    folder.mkdir(parents=True, exist_ok=True)
    # Without its model a folder is no predictor: it goes first and comes last.
    (folder / story.MODEL_FILE).unlink(missing_ok=True)
    diagrams.draw_confusion(trained.judgement, folder / diagrams.CONFUSION_FILE)
    diagrams.draw_reliability(
        trained.judgement, trained.said, trained.uncalibrated, trained.truth,
        folder / diagrams.RELIABILITY_FILE,
    )  # fmt: skip
    modelcard.write(told, folder)
    story.save(trained.network, bool(schedule.fine_tune), told, folder)
    return told


def _tell(
    trained: Trained,
    report: CleaningReport,
    configuration: EngagementConfig,
    schedule: Schedule,
    name: str,
    generated: bool,
) -> EngagementStory:
    head, source = trained.network.head, trained.source
    by_part = {part: sum(each.values()) for part, each in trained.counts.items()}
    shuffled = "" if schedule.shuffle is None else ", likes and comments shuffled among them"
    fixed = configuration.classes == classes.FIXED
    return EngagementStory(
        backbone=configuration.backbone if source else "",
        weights=configuration.weights if source else "",
        trunk=trained.trunk,
        wide=head.wide,
        reads=head.reads,
        classes=configuration.classes,
        boundaries=trained.boundaries.of_all if fixed else (),
        trained_on=(
            f"{by_part['fitting']} posts of {name}, stopped and calibrated by {by_part['validation']} and "
            f"judged on {by_part['held_out']} others{shuffled}"
        ),
        starter=generated or (source is not None and source.starter),
        held_out=trained.judgement.to_json(),
        without_context=trained.without_context.to_json(),
        training={
            "split": configuration.split,
            "quantiles": list(configuration.quantiles),
            "boundaries": trained.boundaries.to_json(),
            "counts": trained.counts,
            "context": list(head.context.names()) if CONTEXT in head.reads else [],
            "calibration": trained.choice.to_json(),
            "fine_tuned_epochs": schedule.fine_tune,
            "views": schedule.views,
            "seed": schedule.seed,
            "shuffled": schedule.shuffle,
            "cleaning": report.to_json(),
            "cleaning_table": str(report),
        },
    )


def cached_predictor() -> Path:
    """Where training leaves the predictor that `make models` exports."""
    return cache_folder() / contract.ENGAGEMENT_MODEL


def load() -> tuple[EngagementNetwork, EngagementStory, Weights]:
    """The predictor of an own training run, else a starter, which learns from generated posts.

    Raises:
        DatasetError: ``engagement.yaml`` cannot be read.
        WeightsError: weights cannot be had, or the own predictor is none of today's network.
    """
    own = cached_predictor()
    return story.load(own if (own / story.MODEL_FILE).exists() else train_starter(read_config()))


def train_starter(configuration: EngagementConfig) -> Path:
    """Folder of a predictor that has learned from generated posts; kept in the cache folder.

    Raises:
        WeightsError: the weights of ``configuration`` cannot be had.
    """
    recipe = "".join([repr(configuration), *map(sha256, _code())])
    key = hashlib.sha256(recipe.encode()).hexdigest()[:12]
    folder = cache_folder() / "starter" / key / contract.ENGAGEMENT_MODEL
    if not (folder / story.MODEL_FILE).exists():
        painter = hashlib.sha256("".join(sha256(_file(each)) for each in (planted, scenes)).encode())
        drawn = cache_folder() / "generated" / painter.hexdigest()[:12]
        relation = configuration.reads[0] if len(configuration.reads) == 1 else "both"
        read, unusable = read_posts(
            planted.write_posts(drawn / f"{relation}-{STARTER_POSTS}", STARTER_POSTS, relation)
        )
        found, report = clean(read, Rules(), unusable)
        train(found, report, configuration, STARTER_SCHEDULE, folder, "generated posts", generated=True)
    return folder


def sources() -> list[Path]:
    """Files on which what ``load`` gives depends."""
    return [*_code(), FILE, *sorted(cached_predictor().glob("*.safetensors"))]


def _code() -> list[Path]:
    """Of what a starter is learned by."""
    modules = (
        calibration, classes, cleaning, columns, config, evaluation, features, framing, learning, network,
        planted, posts, progress, scenes, splits, stories, story, training, trunks,
    )  # fmt: skip
    return [Path(__file__), Path(derived.__file__), Path(tables.__file__), *map(_file, modules)]


def _file(module: ModuleType) -> Path:
    return Path(str(module.__file__))


def _given_reads(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    """The branches of ``--reads``; none where it is not given."""
    names = tuple(value.split(",")) if value else ()
    if unknown := [name for name in names if name not in READS]:
        raise click.BadParameter(f"{', '.join(unknown)} is none of {', '.join(READS)}; join them by a comma")
    return names


def _chosen(given: Mapping[str, Any]) -> EngagementConfig:
    """``engagement.yaml``, changed by what was ``given``; a file of weights by its whole path."""
    changes = {name: value for name, value in given.items() if value}
    if (weights := changes.get("weights")) and weights not in (STARTER, PUBLISHED):
        changes["weights"] = str(Path(weights).resolve())
    return replace(read_config(), **changes)


@click.command(context_settings={"show_default": True, "auto_envvar_prefix": "ADLENS_TRAIN_ENGAGEMENT"})
@click.option(
    "--data", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True,
    help="Export of past posts: CSV, JSON, or JSON lines.",
)  # fmt: skip
@click.option("--backbone", type=click.Choice([*BACKBONES]), help="[default: as in engagement.yaml]")
@click.option("--weights", help="starter, published, or a state dict file [default: as in engagement.yaml]")
@click.option(
    "--reads", callback=_given_reads, help="image, context, or image,context [default: as in engagement.yaml]"
)
@click.option("--split", type=click.Choice(splits.WAYS), help="[default: as in engagement.yaml]")
@click.option(
    "--classes", "how", type=click.Choice(classes.WAYS),
    help="What counts as high: the same for all, or by account [default: as in engagement.yaml]",
)  # fmt: skip
@click.option("--epochs", type=click.IntRange(1), default=Schedule.epochs, help="At most.")
@click.option(
    "--patience", type=click.IntRange(1), default=Schedule.patience, help="Epochs without progress."
)
@click.option("--views", type=click.IntRange(1), default=Schedule.views, help="Of each picture.")
@click.option("--fine-tune", type=click.IntRange(0), default=0, help="Epochs of the trunk's last layers.")
@click.option("--seed", default=Schedule.seed, help="Of all that is chance.")
@click.option("--shuffle", type=int, help="Seed by which likes and comments are shuffled: no signal then.")
@click.option("--threads", type=click.IntRange(0), default=0, help="At work; 0 takes all cores.")
@reading_options
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="[default: where `make models` looks]"
)
def main(
    data: Path,
    how: str | None,
    min_ratio: float,
    max_ratio: float,
    max_likes: int,
    keep_advertised: bool,
    timezone: tzinfo | None,
    columns: dict[str, str],
    out: Path | None,
    **options: Any,  # noqa: ANN401 - of the configuration and the schedule, by their names
) -> None:
    """Learn how popular posts will be, and judge that on posts held out."""
    folder = out or cached_predictor()
    try:
        changes = {name: options.pop(name) for name in ("backbone", "weights", "reads", "split")}
        configuration = _chosen({**changes, "classes": how})
        rules = Rules(min_ratio, max_ratio, max_likes, keep_advertised)
        found, unusable = read_posts(data, columns, timezone)
        kept, report = clean(found, rules, unusable)
        click.echo(f"{report}\n", err=True)
        told = train(kept, report, configuration, Schedule(**options), folder, data.name)
    except (ArithmeticError, DatasetError, WeightsError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(told.trained_on)
    click.echo(evaluation.describe(told.held_out))
    if told.starter:
        click.echo("warning: learned on a seeded trunk, which stands in for a real one", err=True)
    click.echo(f"model, report, diagrams and {modelcard.CARD_FILE} are in {folder}", err=True)


if __name__ == "__main__":
    main()
