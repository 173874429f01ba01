"""The gate before the decoder, chosen by the model parameter ``adlens_gate``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from adlens import jpeg
from adlens.errors import BadImage
from server.backends.configuration import InvalidConfigurationError
from server.backends.isolation import BadRequestError

Gate = Callable[[npt.NDArray[Any]], None]
"""Raises BadRequestError for an input, ``[samples, ...]``, that must not reach the decoder."""


def choose_gate(name: str | None) -> Gate | None:
    """The gate of this name, None without a name.

    Raises:
        InvalidConfigurationError: there is no such gate.
    """
    gates = {"jpeg": _jpeg}
    if name is not None and name not in gates:
        raise InvalidConfigurationError(f"unknown adlens_gate '{name}', known are: {', '.join(gates)}")
    return None if name is None else gates[name]


def _jpeg(values: npt.NDArray[Any]) -> None:
    if values.dtype != np.uint8 or values.ndim != 2:
        return  # no pictures
    try:
        jpeg.inspect_all(values)
    except BadImage as error:
        raise BadRequestError(f"{error.kind}: {error}") from error  # the client reads the kind
