"""Learn which offer raises whose chance to buy: ``python -m export.train_uplift [--data campaign.csv ...]``.

Reads a past campaign in which offers were given at random (any CSV; by default a generated one), lets the
learners compete for each offer on a validation part, and judges the winner on customers it never saw.
Leaves the model, ``report.json`` and two pictures of curves in a folder; ``make models`` then exports it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
from numpy.typing import NDArray

from adlens import contract, customers
from adlens.customers import Schema
from export import tables, trees, uplift
from export.datasets import DatasetError
from export.uplift import evaluation, learners, telecom
from export.uplift.evaluation import Judgement
from export.uplift.learners import LEARNERS, UpliftModel
from export.uplift.records import Campaign, read_csv
from export.weights import cache_folder

GENERATED: Final = "generated"
HELD_OUT: Final = 0.25
"""Share of the customers by which the model is judged."""
VALIDATION: Final = 0.25
"""Share of the others by which the learner is chosen; it then learns from these as well."""
SEED: Final = 20
SCHEMA_FILE: Final = "schema.json"
REPORT_FILE: Final = "report.json"


@dataclass(frozen=True)
class UpliftStory:
    """What a trained model says of itself, the first lines of its report."""

    trained_on: str
    starter: bool
    """Whether it was trained on generated customers."""
    offers: tuple[str, ...]
    held_out: Mapping[str, Mapping[str, Any]]
    """By offer: the figures of ``evaluation.Judgement``."""

    @property
    def skill(self) -> tuple[float, ...]:
        """Qini coefficient of each offer; 0 where chance may do as well, or on generated customers."""
        figures = (self.held_out[offer] for offer in self.offers)
        return tuple(
            0.0 if self.starter or found["qini"] <= found["qini_by_chance"] else float(found["qini"])
            for found in figures
        )


def train(campaign: Campaign, seed: int = SEED) -> tuple[UpliftModel, dict[str, Judgement], Campaign]:
    """Learn all offers of a campaign.

    Args:
        campaign: offers given at random.
        seed: of the split.

    Returns:
        The model, its judgements by offer, and the customers held out for these.
    """
    fitting, validation, held_out = _parts(campaign, seed)
    known, unseen = campaign.subset(np.concatenate([fitting, validation])), campaign.subset(held_out)
    models, judgements = [], {}
    for number, offer in enumerate(campaign.offers):
        fits, judges = (campaign.subset(part).trial(number) for part in (fitting, validation))
        ranks = {
            name: evaluation.qini(learn(fits).predict(judges.columns)[:, 0], judges)
            for name, learn in LEARNERS.items()
        }
        learner = max(ranks, key=ranks.__getitem__)
        models.append(LEARNERS[learner](known.trial(number)))
        trial = unseen.trial(number)
        guess = learners.guess_assignment(known.trial(number), trial)
        judgements[offer] = evaluation.judge(learner, models[-1].predict(trial.columns)[:, 0], guess, trial)
    return learners.combine(models), judgements, unseen


def write(campaign: Campaign, folder: Path, seed: int = SEED) -> UpliftStory:
    """Train on ``campaign``; leave the model, ``report.json`` and pictures of the curves in ``folder``."""
    model, judgements, unseen = train(campaign, seed)
    story = UpliftStory(
        f"{len(campaign) - len(unseen)} customers of {campaign.name}, judged on {len(unseen)} others",
        campaign.true_uplift is not None,
        campaign.offers,
        {offer: judgement.to_json() for offer, judgement in judgements.items()},
    )
    report = {
        **asdict(story),
        "share_of_buyers": evaluation.policy_values(model.predict(unseen.columns), unseen),
        "loyalty": [row.to_json() for row in campaign.schema.loyalty],
    }
    folder.mkdir(parents=True, exist_ok=True)
    # Without its report a folder is no model: it goes first and comes last.
    (folder / REPORT_FILE).unlink(missing_ok=True)
    learners.save_boosters(model, folder)
    (folder / SCHEMA_FILE).write_bytes(campaign.schema.to_bytes().rstrip() + b"\n")
    trials = [unseen.trial(number) for number in range(len(campaign.offers))]
    predictions = [model.predict(trial.columns)[:, number] for number, trial in enumerate(trials)]
    evaluation.draw_curves(predictions, trials, [*judgements.values()], folder)
    (folder / REPORT_FILE).write_text(json.dumps(report, indent=2) + "\n")
    return story


def read(folder: Path) -> tuple[UpliftModel, Schema, UpliftStory]:
    """What ``write`` left in ``folder``.

    Raises:
        DatasetError: a file is missing, or is none of ours.
    """
    try:
        schema = Schema.from_bytes((folder / SCHEMA_FILE).read_bytes())
        raw = json.loads((folder / REPORT_FILE).read_text())
        story = UpliftStory(raw["trained_on"], raw["starter"], tuple(raw["offers"]), raw["held_out"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{folder}: no uplift model ({error}); train it again") from error
    return learners.load_boosters(schema.features, folder), schema, story


def cached_uplift() -> Path:
    """Where training leaves the model that `make models` exports."""
    return cache_folder() / contract.UPLIFT_OFFER


def load() -> tuple[UpliftModel, Schema, UpliftStory]:
    """The model of an own training run, else one trained on generated customers.

    Raises:
        DatasetError: the own one cannot be read.
    """
    own = cached_uplift()
    if own.exists():
        return read(own)
    starter = cache_folder() / "starter" / contract.UPLIFT_OFFER
    write(telecom.generate(), starter)
    return read(starter)


def sources() -> list[Path]:
    """Files on which what ``load`` gives depends."""
    code = [Path(__file__), Path(customers.__file__), Path(tables.__file__), Path(trees.__file__)]
    code += sorted(Path(uplift.__file__).parent.glob("*.py"))
    return [*code, *sorted(path for path in cached_uplift().glob("*") if path.suffix in (".json", ".ubj"))]


def _parts(campaign: Campaign, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Rows to fit, for validation, and held out: each with its share of every offer's buyers and others."""
    random = np.random.default_rng(seed)
    strata = campaign.given * 2 + campaign.bought
    place = np.zeros(len(campaign))
    for stratum in np.unique(strata):
        rows = random.permutation(np.flatnonzero(strata == stratum))
        place[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
    fitting = place < (1 - HELD_OUT) * (1 - VALIDATION)
    held_out = place >= 1 - HELD_OUT
    return np.flatnonzero(fitting), np.flatnonzero(~fitting & ~held_out), np.flatnonzero(held_out)


@click.command(context_settings={"show_default": True, "auto_envvar_prefix": "ADLENS_TRAIN_UPLIFT"})
@click.option("--data", default=GENERATED, help="`generated`, or a CSV with a header.")
@click.option("--treatment", default="offer", help="Column: the offer given.")
@click.option("--outcome", default="purchase", help="Column: 1 who bought, 0 who did not.")
@click.option("--control", help="What no offer is called [default: none, control or 0]")
@click.option("--manufacturer", help="Column: the present phone's manufacturer, for the loyalty table.")
@click.option("--next-manufacturer", help="Column: the next phone's; empty where unknown.")
@click.option("--ignore", multiple=True, metavar="COLUMN", help="No feature, such as an id.")
@click.option("--category", multiple=True, metavar="COLUMN", help="A category, though of numbers.")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="[default: where `make models` looks]"
)
@click.option("--seed", default=SEED, help="Of the split.")
@click.option("--seeds", type=click.IntRange(min=1), help="Judge so many generated campaigns; write nothing.")
def main(
    data: str,
    treatment: str,
    outcome: str,
    control: str | None,
    manufacturer: str | None,
    next_manufacturer: str | None,
    ignore: tuple[str, ...],
    category: tuple[str, ...],
    out: Path | None,
    seed: int,
    seeds: int | None,
) -> None:
    """Learn which offer raises whose chance to buy, and judge that on held-out customers."""
    if seeds:
        _judge_seeds(seeds)
        return
    folder = out or cached_uplift()
    try:
        campaign = (
            telecom.generate()
            if data == GENERATED
            else read_csv(
                Path(data),
                treatment=treatment,
                outcome=outcome,
                control=control,
                manufacturer=manufacturer,
                next_manufacturer=next_manufacturer,
                ignore=ignore,
                categories=category,
            )
        )
        story = write(campaign, folder, seed)
    except DatasetError as error:
        raise click.ClickException(str(error)) from error
    for offer, figures in story.held_out.items():
        for warning in figures["warnings"]:
            click.echo(f"warning: {offer}: {warning}", err=True)
    click.echo((folder / REPORT_FILE).read_text(), nl=False)
    click.echo(f"model, report and curves are in {folder}", err=True)


def _judge_seeds(seeds: int) -> None:
    """A line a generated campaign and offer."""
    above = 0
    for seed in range(seeds):
        judgements = train(telecom.generate(seed=seed), seed)[1]
        above += all(found.qini > 0 for found in judgements.values())
        for offer, found in judgements.items():
            click.echo(
                f"seed {seed}  {offer:17} {found.learner:21} Qini {found.qini:.3f} (truth "
                f"{found.qini_of_truth:.3f})  AUUC {found.auuc:.3f}  Spearman {found.spearman:.3f}"
            )
    click.echo(f"Qini of every offer above random in {above} of {seeds} seeds")


if __name__ == "__main__":
    main()
