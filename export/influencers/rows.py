"""Rows of a block as tensors: which are known, roots of shares, and length 1."""

from __future__ import annotations

from typing import Final

from torch import Tensor, zeros_like
from torch import where as choose

_LARGEST: Final = 1e30
"""Values beyond are as little known as NaN."""
_TINY: Final = 1e-12


def unit(values: Tensor) -> Tensor:
    """Rows of length 1; rows of zeros stay so."""
    return values / (values * values).sum(dim=1, keepdim=True).clamp(min=_TINY * _TINY).sqrt()


def rooted(values: Tensor, distribution: bool) -> tuple[Tensor, Tensor]:
    """Roots of the shares of a distribution, other values as they are; and whether rows are known, [N, 1].

    Args:
        values: float32 [N, values]; any that is not finite says that the row is not known, which gives zeros.
        distribution: which of both.
    """
    known = (values.abs() <= _LARGEST).all(dim=1, keepdim=True)
    found = choose(known, values, zeros_like(values))
    if distribution:
        found = found.clamp(min=0.0)
        found = (found / found.sum(dim=1, keepdim=True).clamp(min=_TINY)).sqrt()
    return found, known.to(found.dtype)
