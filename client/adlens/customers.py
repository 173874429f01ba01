"""A customer's record, the schema by which the offer model reads it, and the offer that it answers with.

The schema travels with every answer of ``uplift_offer`` (SCHEMA), so that records are checked against
the very model that answers, before anything is sent: what it was trained on decides which features a
record has, which categories are known and which numbers are usual.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from adlens import contract
from adlens.answers import rounded
from adlens.errors import BadCustomer
from adlens.features import SHOWN, brief, guess, listed, without_repeats
from adlens.features import Category as Category
from adlens.features import Feature as Feature
from adlens.features import Number as Number


@dataclass(frozen=True)
class Loyalty:
    """Of ``customers`` with a phone of ``manufacturer`` whose next phone is known, ``stayed`` stayed.

    The true share lies between ``low`` and ``high`` with 95 % confidence (Wilson's interval).
    """

    manufacturer: str
    customers: int
    stayed: int
    low: float
    high: float

    @property
    def share(self) -> float:
        """Of those who stayed."""
        return self.stayed / self.customers

    def to_json(self) -> dict[str, Any]:
        """As in SCHEMA, and the share."""
        return {**vars(self), "share": rounded(self.share)}

    def __str__(self) -> str:
        """In words to be shown."""
        return (
            f"{self.manufacturer} owners stay with {self.manufacturer}: {self.share:.0%} "
            f"({self.low:.0%} to {self.high:.0%}; {self.stayed} of {self.customers})"
        )


@dataclass(frozen=True)
class Schema:
    """What an offer model knows of customers.

    Attributes:
        features: columns of CUSTOMER, in order.
        manufacturer: the feature that says whose phone the customer has, where there is one.
        loyalty: one row a manufacturer whose owners' next phones are known.
    """

    features: tuple[Feature, ...]
    manufacturer: str | None = None
    loyalty: tuple[Loyalty, ...] = ()

    def to_bytes(self) -> bytes:
        """UTF-8 JSON, padded with spaces to SCHEMA_BYTES, as carried by the SCHEMA tensor.

        Raises:
            ValueError: it is longer than that, or has more than MAX_FEATURES features.
        """
        raw = {
            "features": [feature.to_json() for feature in self.features],
            "manufacturer": self.manufacturer,
            "loyalty": [row.to_json() for row in self.loyalty],
        }
        data = json.dumps(raw, separators=(",", ":"), ensure_ascii=False).encode()
        if len(data) > contract.SCHEMA_BYTES or len(self.features) > contract.MAX_FEATURES:
            raise ValueError(
                f"schema of {len(data)} bytes and {len(self.features)} features; at most "
                f"{contract.SCHEMA_BYTES} and {contract.MAX_FEATURES} travel: leave features out"
            )
        return data.ljust(contract.SCHEMA_BYTES)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read a SCHEMA tensor's bytes; unknown keys of newer servers are ignored.

        Raises:
            ValueError: ``data`` is no schema.
        """
        try:
            raw = json.loads(data)
            manufacturer = raw["manufacturer"]
            schema = cls(
                tuple(_feature(feature) for feature in raw["features"]),
                None if manufacturer is None else str(manufacturer),
                tuple(_loyalty(row) for row in raw["loyalty"]),
            )
        except (KeyError, TypeError, UnicodeDecodeError) as error:
            raise ValueError(f"not a schema of customers: {data[:80]!r} ({error!r})") from error
        if not 0 < len(schema.features) <= contract.MAX_FEATURES:
            raise ValueError(f"schema of {len(schema.features)} features")
        return schema

    def encode(self, customer: Mapping[str, object]) -> npt.NDArray[np.float32]:
        """The record as float32 [MAX_FEATURES]; columns behind the schema's are 0.

        Raises:
            BadCustomer: a feature is unknown, missing, of the wrong type, not finite, or of an unknown
                category; the message tells all that is wrong.
        """
        faults = [*self._faults_of_names(customer)]
        row = np.zeros(contract.MAX_FEATURES, np.float32)
        for column, feature in enumerate(self.features):
            if feature.name not in customer:
                continue
            try:
                row[column] = feature.encode(customer[feature.name])
            except ValueError as error:
                faults.append(f"{feature.name}: {error}")
        if faults:
            more = f"; and {len(faults) - SHOWN} more faults" if len(faults) > SHOWN else ""
            raise BadCustomer(f"customer: {'; '.join(faults[:SHOWN])}{more}")
        return row

    def unusual(self, customer: Mapping[str, object]) -> Iterator[str]:
        """Tell which numbers of a record that can be encoded lie outside what training has seen."""
        for feature in self.features:
            if isinstance(feature, Number):
                value = feature.encode(customer[feature.name])
                if not feature.low <= np.float32(value) <= feature.high:
                    yield (
                        f"{feature.name} {value:g} lies outside {feature.low:g} to {feature.high:g}, which "
                        "training has seen"
                    )

    def loyalty_of(self, customer: Mapping[str, object]) -> Loyalty | None:
        """Of those with a phone of the same manufacturer, where known."""
        owned = customer.get(self.manufacturer) if self.manufacturer else None
        return next((row for row in self.loyalty if row.manufacturer == owned), None)

    def _faults_of_names(self, customer: Mapping[str, object]) -> Iterator[str]:
        names = [feature.name for feature in self.features]
        missing = [name for name in names if name not in customer]
        for name in customer:
            if name not in names:
                yield f"unknown feature {brief(name)}{guess(str(name), missing or names)}"
        if missing:
            yield f"missing {listed(missing, limit=len(missing))}"


@dataclass(frozen=True)
class OfferAnswer:
    """What to offer a customer.

    Attributes:
        offer: the one with the highest expected uplift; None where none is expected to help.
        uplift: what it adds to the probability to buy, 0 to 1; None without an offer.
        uplifts: of every offer, -1 to 1, the highest first; one below 0 keeps the customer from buying.
        title: in words to be shown.
        loyalty: of the owners of such a phone as the customer's, where it is known.
        warnings: what stands against trusting the answer.
        model_versions: weights that answered, by leaf model.
        starter: leaf models that were trained on generated customers.
    """

    offer: str | None
    uplift: float | None
    uplifts: Mapping[str, float]
    title: str
    loyalty: Loyalty | None = None
    warnings: tuple[str, ...] = ()
    model_versions: Mapping[str, str] = field(default_factory=dict)
    starter: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "offer": self.offer,
            "uplift": rounded(self.uplift),
            "uplifts": {offer: rounded(uplift) for offer, uplift in self.uplifts.items()},
            "title": self.title,
            "loyalty": self.loyalty.to_json() if self.loyalty else None,
            "warnings": list(self.warnings),
            "model_versions": dict(self.model_versions),
            "starter": list(self.starter),
        }


def load_customer(path: str | os.PathLike[str]) -> dict[str, object]:
    """Read a record from a JSON file: one object, feature to value.

    Raises:
        BadCustomer: the file cannot be read, is no such JSON, or names a feature twice.
    """
    try:
        raw = json.loads(Path(path).read_bytes(), object_pairs_hook=without_repeats)
    except OSError as error:
        raise BadCustomer(f"{path} cannot be read ({error.strerror}); check the path") from error
    except (ValueError, RecursionError) as error:
        raise BadCustomer(f'{path}: {error}; write a JSON object such as {{"age": 41}}') from error
    if not isinstance(raw, dict):
        raise BadCustomer(f'{path}: a JSON {type(raw).__name__}; write an object such as {{"age": 41}}')
    return raw


def _feature(raw: Mapping[str, Any]) -> Feature:
    if "values" in raw:
        return Category(str(raw["name"]), tuple(map(str, raw["values"])))
    return Number(str(raw["name"]), float(raw["low"]), float(raw["high"]))


def _loyalty(raw: Mapping[str, Any]) -> Loyalty:
    customers, stayed = int(raw["customers"]), int(raw["stayed"])
    if not 0 <= stayed <= customers or not customers:
        raise ValueError(f"loyalty of {stayed} among {customers} customers")
    return Loyalty(str(raw["manufacturer"]), customers, stayed, float(raw["low"]), float(raw["high"]))
