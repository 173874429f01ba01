"""How likely a version of a picture converts: gradient-boosted trees (XGBoost) and a calibrator a target.

The trees see which kind of variant the version is taken for, how much it looks like each (the logits of
``vary_creative``) and the context of the campaign, one column a known value. They learn from some products,
the calibrators from others, and both are judged on yet others.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import xgboost
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold

from adlens import contract
from adlens.vocabulary import Vocabulary
from export.creative.calibration import Calibrator, Score, choose
from export.creative.records import Sends
from export.datasets import DatasetError

PARAMETERS: Final[Mapping[str, Any]] = {
    "objective": "binary:logistic",
    "eval_metric": "logloss",
    "tree_method": "hist",
    "max_bin": 2048,  # with fewer, a split is off by what a bin of the crowded logits holds
    "max_depth": 2,  # what a variant does may differ by one part of the context
    "eta": 0.3,
    "min_child_weight": 10,
    "gamma": 8,  # a split has to gain more than the best of hundreds does by chance
    "subsample": 0.8,
    "base_score": 0.5,  # of which the logit is 0, so that margins are sums of leaves alone
    "nthread": 1,  # the same trees on every machine
    "seed": 20,
}
MAX_ROUNDS: Final = 300
PATIENCE: Final = 15
"""Rounds without a gain on unseen products after which learning ends."""
FOLDS: Final = 4
MODEL_FILE: Final = "conversion.json"

Floats = NDArray[np.float32]
Places = NDArray[np.int32]


@dataclass(frozen=True)
class ConversionModel:
    """Probability of each target.

    Attributes:
        vocabulary: which logits, and which contexts.
        boosters: one a target, in the order of TARGETS.
        calibrators: the same.
    """

    vocabulary: Vocabulary
    boosters: tuple[xgboost.Booster, ...]
    calibrators: tuple[Calibrator, ...]

    def margins(self, logits: Floats, context: Places) -> Floats:
        """What the trees say, before calibration, float32 [n, 4].

        Args:
            logits: float32 [n, variants or more], a row of VARIANT_LOGITS each.
            context: int32 [n, 3], as in CONTEXT.
        """
        rows = xgboost.DMatrix(expand(logits, context, self.vocabulary))
        return np.column_stack([booster.predict(rows, output_margin=True) for booster in self.boosters])

    def predict(self, logits: Floats, context: Places) -> Floats:
        """Probabilities, float32 [n, 4]; arguments as for ``margins``."""
        margins = self.margins(logits, context)
        columns = zip(self.calibrators, margins.T, strict=True)
        return np.column_stack([calibrate(column) for calibrate, column in columns])

    @property
    def digest(self) -> str:
        """SHA-256 over all trees, calibrators and the vocabulary."""
        told = [asdict(calibrator) for calibrator in self.calibrators]
        total = hashlib.sha256(json.dumps(told).encode())
        total.update(self.vocabulary.to_bytes())
        for booster in self.boosters:
            total.update(_raw(booster))
        return total.hexdigest()


def expand(logits: Floats, context: Places, vocabulary: Vocabulary) -> Floats:
    """What the trees see, float32 [n, 2 variants + values]; arguments as for ``ConversionModel.margins``.

    First which kind a picture is taken for, 0 or 1 a column.

    Logits count from the largest, which is 0: like softmax, a split then heeds how much more a picture
    looks like one kind than like another, and not how large all its logits are. A difference is rounded
    alike everywhere, unlike softmax itself, so that no picture falls to another side of a split when served.
    """
    kinds = logits[:, : len(vocabulary.variants)]
    behind = kinds - kinds.max(axis=1, keepdims=True)
    columns = [behind == 0, behind]
    for place, name in enumerate(contract.CONTEXT_NAMES):
        columns.append(context[:, [place]] == np.arange(len(vocabulary.context[name])))
    return np.hstack(columns).astype(np.float32)


def vocabulary_of(sends: Sends, variants: Sequence[str], weights: str) -> Vocabulary:
    """Every value of the context that a campaign had.

    Args:
        sends: of one campaign or many.
        variants: labels of the network that gives the logits.
        weights: of its card.

    Raises:
        DatasetError: there is more than travels.
    """
    values = (tuple(np.unique(column).tolist()) for column in sends.context.T)
    made = Vocabulary(dict(zip(contract.CONTEXT_NAMES, values, strict=True)), tuple(variants), weights)
    try:
        made.to_bytes()
    except ValueError as error:
        raise DatasetError(f"{sends.catalogue.name}: {error}") from error
    return made


def places_of(sends: Sends, vocabulary: Vocabulary) -> Places:
    """CONTEXT of every send, int32 [n, 3]."""
    columns = zip(contract.CONTEXT_NAMES, sends.context.T, strict=True)
    # The values of a vocabulary are sorted.
    return np.column_stack(
        [np.searchsorted(np.array(vocabulary.context[name]), column) for name, column in columns]
    ).astype(np.int32)


def logits_of(sends: Sends, logits: Floats, variants: Sequence[str]) -> Floats:
    """The logits of what was sent, float32 [n, variants].

    Args:
        sends: ``n``.
        logits: float32 [pictures, variants, kinds] of the whole catalogue.
        variants: labels, in the order of the second axis.
    """
    row = {label: place for place, label in enumerate(variants)}
    sent = np.array([row[label] for label in sends.variants.tolist()])
    return np.asarray(logits[sends.pictures, sent])


def learn(
    learning: Sends, calibrating: Sends, logits: Floats, vocabulary: Vocabulary
) -> tuple[ConversionModel, dict[str, dict[str, Score]]]:
    """Learn trees from some sends, and calibrators from others.

    Args:
        learning: sends for the trees.
        calibrating: sends of other products.
        logits: float32 [pictures, variants, kinds] of the whole catalogue.
        vocabulary: the values of all sends' contexts.

    Returns:
        The model, and by target the score of each way to calibrate it (``calibration.choose``).

    Raises:
        DatasetError: there is one product only to learn from.
    """
    given = logits_of(learning, logits, vocabulary.variants)
    rows = expand(given, places_of(learning, vocabulary), vocabulary)
    boosters = tuple(
        _boost(rows, outcomes, learning.products, len(vocabulary.variants))
        for outcomes in learning.outcomes.T
    )
    bare = ConversionModel(vocabulary, boosters, (Calibrator(),) * len(boosters))
    margins = bare.margins(
        logits_of(calibrating, logits, vocabulary.variants), places_of(calibrating, vocabulary)
    )
    calibrators, scores = [], {}
    for target, column, outcomes in zip(contract.TARGETS, margins.T, calibrating.outcomes.T, strict=True):
        known = np.isfinite(outcomes)
        calibrator, scores[target] = choose(column[known], outcomes[known], calibrating.products[known])
        calibrators.append(calibrator)
    ways = {target: made.method for target, made in zip(contract.TARGETS, calibrators, strict=True)}
    return (
        ConversionModel(replace(vocabulary, calibration=ways), boosters, tuple(calibrators)),
        scores,
    )


def save(model: ConversionModel, folder: Path) -> None:
    """Write the trees (XGBoost's UBJSON), the calibrators and the vocabulary (JSON); no pickles."""
    for target, booster in zip(contract.TARGETS, model.boosters, strict=True):
        (folder / _booster_file(target)).write_bytes(_raw(booster))
    told = {
        "vocabulary": json.loads(model.vocabulary.to_bytes()),
        "calibrators": {
            target: made.to_json() for target, made in zip(contract.TARGETS, model.calibrators, strict=True)
        },
    }
    (folder / MODEL_FILE).write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def load(folder: Path) -> ConversionModel:
    """Read what ``save`` wrote.

    Raises:
        DatasetError: a file is missing, or is none of ours.
    """
    try:
        raw = json.loads((folder / MODEL_FILE).read_text(encoding="utf-8"))
        calibrators = tuple(Calibrator.from_json(raw["calibrators"][target]) for target in contract.TARGETS)
        vocabulary = Vocabulary.from_bytes(json.dumps(raw["vocabulary"]).encode())
        files = [folder / _booster_file(target) for target in contract.TARGETS]
        boosters = tuple(xgboost.Booster(model_file=bytearray(file.read_bytes())) for file in files)
        return ConversionModel(vocabulary, boosters, calibrators)
    except (OSError, KeyError, TypeError, ValueError) as error:  # XGBoost's own is a ValueError
        reason = str(error).partition("\n")[0]  # and goes on with a trace of the stack
        raise DatasetError(f"{folder}: no conversion model ({reason}); train it again") from error


def _boost(rows: Floats, outcomes: Floats, products: NDArray[np.str_], kinds: int) -> xgboost.Booster:
    """As many trees as help on products that they did not learn from; unknown outcomes are left out.

    The first ones do not see how much pictures look like each of the ``kinds``, but only what they are taken
    for; the others learn what that leaves open. Seeing both at once, they would choose between splits that
    are equally good where the judge is sure, and of which one alone holds where it is not.
    """
    known = np.isfinite(outcomes)
    groups = products[known]
    different = len(np.unique(groups))
    if different < 2:
        raise DatasetError(f"trees learn from {groups[0]} alone, which tells nothing of others; add products")
    taken = rows[known].copy()
    taken[:, kinds : 2 * kinds] = 0
    first = xgboost.DMatrix(taken, outcomes[known])
    booster = xgboost.train(dict(PARAMETERS), first, _rounds(first, groups))
    left = xgboost.DMatrix(rows[known], outcomes[known])
    left.set_base_margin(booster.predict(first, output_margin=True))
    more = _rounds(left, groups)
    whole = xgboost.DMatrix(rows[known], outcomes[known])
    return xgboost.train(dict(PARAMETERS), whole, more, xgb_model=booster)


def _rounds(data: xgboost.DMatrix, groups: NDArray[np.str_]) -> int:
    """After how many trees learning ends."""
    folds = GroupKFold(min(FOLDS, len(np.unique(groups)))).split(groups, groups=groups)
    # The history ends with the best round.
    history: dict[str, Any] = xgboost.cv(
        dict(PARAMETERS), data, MAX_ROUNDS, folds=list(folds), early_stopping_rounds=PATIENCE,
        as_pandas=False, seed=PARAMETERS["seed"],
    )  # fmt: skip
    return len(history["test-logloss-mean"])


def _raw(booster: xgboost.Booster) -> bytes:
    return bytes(booster.save_raw("ubj"))


def _booster_file(target: str) -> str:
    return f"trees-{target}.ubj"
