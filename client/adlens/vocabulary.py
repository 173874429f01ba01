"""What a conversion model knows of campaigns: the values of their context, and the variants it learned from.

The vocabulary travels with every answer of ``conversion`` (SCHEMA), so that a campaign is checked against
the very model that answers before a picture is sent: what it was trained on decides which values are known.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from adlens import contract
from adlens.errors import BadContext
from adlens.features import Category, listed


@dataclass(frozen=True)
class Vocabulary:
    """Of one conversion model.

    Attributes:
        context: the values known of each of CONTEXT_NAMES; CONTEXT holds places among them.
        variants: labels of the variants whose logits it learned from, in the order of these.
        variants_weights: ``weights`` of the card of the ``vary_creative`` that gave them.
        calibration: of each target, how margins become probabilities: none, platt or isotonic.
    """

    context: Mapping[str, tuple[str, ...]]
    variants: tuple[str, ...]
    variants_weights: str
    calibration: Mapping[str, str] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """UTF-8 JSON, padded with spaces to SCHEMA_BYTES, as carried by the SCHEMA tensor.

        Raises:
            ValueError: it is longer than that, or no vocabulary that ``from_bytes`` would read.
        """
        self._check()
        raw = {
            "context": {name: list(values) for name, values in self.context.items()},
            "variants": list(self.variants),
            "variants_weights": self.variants_weights,
            "calibration": dict(self.calibration),
        }
        data = json.dumps(raw, separators=(",", ":"), ensure_ascii=False).encode()
        if len(data) > contract.SCHEMA_BYTES:
            raise ValueError(
                f"vocabulary of {len(data)} bytes; at most {contract.SCHEMA_BYTES} travel: merge rare values"
            )
        return data.ljust(contract.SCHEMA_BYTES)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read a SCHEMA tensor's bytes; unknown keys of newer servers are ignored.

        Raises:
            ValueError: ``data`` is no vocabulary.
        """
        try:
            raw: dict[str, Any] = json.loads(data)
            vocabulary = cls(
                {str(name): tuple(map(str, values)) for name, values in raw["context"].items()},
                tuple(map(str, raw["variants"])),
                str(raw["variants_weights"]),
                {str(target): str(way) for target, way in raw["calibration"].items()},
            )
        except (AttributeError, KeyError, TypeError, UnicodeDecodeError) as error:
            raise ValueError(f"not a vocabulary of campaigns: {data[:80]!r} ({error!r})") from error
        vocabulary._check()
        return vocabulary

    def encode(self, campaign_type: str, industry: str, type: str) -> npt.NDArray[np.int32]:  # noqa: A002
        """CONTEXT of one picture, int32 [3]: places among the known values.

        Raises:
            BadContext: a value is unknown, or empty; the message tells all that is wrong and what is known.
        """
        given = dict(zip(contract.CONTEXT_NAMES, (campaign_type, industry, type), strict=True))
        places, faults = [], []
        for name, value in given.items():
            values = self.context[name]
            try:
                if value == "":
                    raise ValueError(f"none given; known: {listed(values)}")
                places.append(Category(name, values).encode(value))
            except ValueError as error:
                faults.append(f"{name}: {error}")
        if faults:
            raise BadContext(f"campaign: {'; '.join(faults)}")
        return np.array(places, np.int32)

    def _check(self) -> None:
        """Raise ValueError where it contradicts the contract or itself."""
        faults = "; ".join(self._faults())
        if faults:
            raise ValueError(f"vocabulary of campaigns: {faults}")

    def _faults(self) -> Iterator[str]:
        if set(self.context) != set(contract.CONTEXT_NAMES):
            yield f"context of {sorted(self.context)}, not of {sorted(contract.CONTEXT_NAMES)}"
        for name, values in {**self.context, "variants": self.variants}.items():
            if not values or len(set(values)) < len(values):
                yield f"{name}: {listed(values) or 'nothing'}; at least one is needed, and each once"
        if len(self.variants) > contract.MAX_VARIANTS:
            yield f"{len(self.variants)} variants; at most {contract.MAX_VARIANTS} travel"
