"""Uplift learners over gradient-boosted trees (XGBoost): two models, and class transformation.

Each learns, for one offer, from those who were given it and those who were given none. Whatever the
learner, uplift comes out as a weighted sum of probabilities, each of one ensemble of trees, and a
constant. So offers, learners and the served graph (``export.uplift.graph``) share one form,
``UpliftModel``, and the model without an offer is learned once for all offers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import xgboost
from numpy.typing import NDArray

from adlens.customers import Category, Feature
from export.datasets import DatasetError
from export.uplift.records import Campaign

PARAMETERS: Final[Mapping[str, Any]] = {
    "objective": "binary:logistic",
    "tree_method": "hist",
    "max_depth": 3,
    "eta": 0.08,
    "min_child_weight": 10,
    "subsample": 0.8,
    "base_score": 0.5,  # of which the logit is 0, so that margins are sums of leaves alone
    "nthread": 1,  # the same trees on every machine
    "seed": 20,
}
ROUNDS: Final = 120
TWO_MODEL: Final = "two_model"
CLASS_TRANSFORMATION: Final = "class_transformation"
_SUMS_FILE: Final = "sums.json"

Floats = NDArray[np.float32]


def expand(columns: Floats, features: Sequence[Feature]) -> Floats:
    """What the trees see: numbers as they are, a category as one column of 0 and 1 for each value.

    Args:
        columns: float32 [n, features or more], as in CUSTOMER.
        features: the schema's.
    """
    source, value = expansion(features)
    taken = columns[:, source]
    return np.where(np.isnan(value), taken, taken == value).astype(np.float32)


def expansion(features: Sequence[Feature]) -> tuple[NDArray[np.int64], Floats]:
    """Source column of each column that the trees see, and the category's place it stands for, or NaN."""
    pairs = [
        (column, value)
        for column, feature in enumerate(features)
        for value in (range(len(feature.values)) if isinstance(feature, Category) else [np.nan])
    ]
    source, value = zip(*pairs, strict=True)
    return np.array(source, np.int64), np.array(value, np.float32)


@dataclass(frozen=True)
class UpliftModel:
    """Uplift of ``m`` offers from the probabilities of ``b`` boosters.

    Attributes:
        features: columns of CUSTOMER.
        boosters: each gives a probability, from what ``expand`` gives.
        weights: float32 [b, m] by which the probabilities are added up.
        constant: float32 [m], added to it.
    """

    features: tuple[Feature, ...]
    boosters: tuple[xgboost.Booster, ...]
    weights: Floats
    constant: Floats

    def predict(self, columns: Floats) -> Floats:
        """Uplift of each offer, float32 [n, m], by XGBoost itself.

        Args:
            columns: float32 [n, features or more], as in CUSTOMER.
        """
        rows = xgboost.DMatrix(expand(columns, self.features))
        probabilities = np.column_stack([booster.predict(rows) for booster in self.boosters])
        return probabilities @ self.weights + self.constant

    @property
    def digest(self) -> str:
        """SHA-256 over all trees, weights and features."""
        total = hashlib.sha256(repr(self.features).encode())
        for data in (*map(_raw, self.boosters), self.weights.tobytes(), self.constant.tobytes()):
            total.update(data)
        return total.hexdigest()


Learner = Callable[[Campaign], UpliftModel]
"""Learns one offer from a trial (``Campaign.trial``)."""


def learn_two_models(trial: Campaign) -> UpliftModel:
    """One model of those with the offer, one of those without; uplift is the difference.

    B. Hansotia and B. Rukstales, "Incremental value modeling", Journal of Interactive Marketing 16(3), 2002.
    """
    boosters = tuple(
        _boost(trial.subset(trial.given == arm), trial.bought[trial.given == arm]) for arm in (1, 0)
    )
    return UpliftModel(
        trial.schema.features, boosters, np.array([[1], [-1]], np.float32), np.zeros(1, np.float32)
    )


def learn_transformed_class(trial: Campaign) -> UpliftModel:
    """One model of Z, which is 1 for buyers with the offer and for non-buyers without; uplift is 2 P(Z) - 1.

    M. Jaskowski and S. Jaroszewicz, "Uplift modeling for clinical trial data", ICML Workshop on Clinical
    Data Analysis, 2012. It holds where both arms weigh the same, so each customer weighs as much as the
    other arm's share.
    """
    share = trial.given.mean()
    weights = np.where(trial.given == 1, 0.5 / share, 0.5 / (1 - share))
    booster = _boost(trial, (trial.given == trial.bought).astype(np.int64), weights)
    return UpliftModel(
        trial.schema.features, (booster,), np.array([[2]], np.float32), np.array([-1], np.float32)
    )


LEARNERS: Final[Mapping[str, Learner]] = {
    TWO_MODEL: learn_two_models,
    CLASS_TRANSFORMATION: learn_transformed_class,
}


def guess_assignment(known: Campaign, unseen: Campaign) -> Floats:
    """Probability, [unseen], that a customer was given the offer, guessed from features as seen in ``known``.

    Where offers were given at random, as all learners here assume, the guess is no better than chance.
    """
    booster = _boost(known, known.given)
    rows = xgboost.DMatrix(expand(unseen.columns, unseen.schema.features))
    return np.asarray(booster.predict(rows), np.float32)


def combine(models: Sequence[UpliftModel]) -> UpliftModel:
    """One model of several offers, one after the other; equal boosters are kept once."""
    boosters: dict[bytes, xgboost.Booster] = {}
    for model in models:
        boosters |= {_raw(booster): booster for booster in model.boosters}
    place = {raw: row for row, raw in enumerate(boosters)}
    weights = np.zeros((len(boosters), len(models)), np.float32)
    for offer, model in enumerate(models):
        for booster, weight in zip(model.boosters, model.weights[:, 0], strict=True):
            weights[place[_raw(booster)], offer] += weight
    constant = np.concatenate([model.constant for model in models])
    return UpliftModel(models[0].features, tuple(boosters.values()), weights, constant)


def save_boosters(model: UpliftModel, folder: Path) -> None:
    """Write the trees (XGBoost's UBJSON) and how they add up (JSON) to ``folder``; no pickles."""
    for number, booster in enumerate(model.boosters):
        (folder / _booster_file(number)).write_bytes(_raw(booster))
    sums = {"weights": model.weights.tolist(), "constant": model.constant.tolist()}
    (folder / _SUMS_FILE).write_text(json.dumps(sums) + "\n")


def load_boosters(features: tuple[Feature, ...], folder: Path) -> UpliftModel:
    """Read what ``save_boosters`` wrote.

    Raises:
        DatasetError: a file is missing, or is none of ours.
    """
    try:
        sums = json.loads((folder / _SUMS_FILE).read_text())
        weights = np.array(sums["weights"], np.float32)
        constant = np.array(sums["constant"], np.float32)
        files = [folder / _booster_file(number) for number in range(len(weights))]
        boosters = tuple(xgboost.Booster(model_file=bytearray(file.read_bytes())) for file in files)
    except (OSError, KeyError, TypeError, ValueError) as error:  # XGBoost's own is a ValueError
        reason = str(error).partition("\n")[0]  # and goes on with a trace of the stack
        raise DatasetError(f"{folder}: no uplift model ({reason}); train it again") from error
    return UpliftModel(features, boosters, weights, constant)


def _boost(
    customers: Campaign, target: NDArray[np.int64], weights: NDArray[np.float64] | None = None
) -> xgboost.Booster:
    rows = xgboost.DMatrix(expand(customers.columns, customers.schema.features), target, weight=weights)
    return xgboost.train(dict(PARAMETERS), rows, ROUNDS)


def _raw(booster: xgboost.Booster) -> bytes:
    return bytes(booster.save_raw("ubj"))


def _booster_file(number: int) -> str:
    return f"trees-{number}.ubj"
