"""The gate before the decoder, chosen by the model parameter ``adlens_gate``."""

from __future__ import annotations

from collections.abc import Callable

from adlens import jpeg
from adlens.errors import BadImage
from server.backends.configuration import InvalidConfigurationError
from server.backends.isolation import BadRequestError

Gate = Callable[[bytes], None]
"""Raises BadRequestError for bytes that must not reach the decoder."""


def choose_gate(name: str | None) -> Gate | None:
    """The gate of this name, None without a name.

    Raises:
        InvalidConfigurationError: there is no such gate.
    """
    gates = {"jpeg": _jpeg}
    if name is not None and name not in gates:
        raise InvalidConfigurationError(f"unknown adlens_gate '{name}', known are: {', '.join(gates)}")
    return None if name is None else gates[name]


def _jpeg(data: bytes) -> None:
    try:
        jpeg.inspect(data)
    except BadImage as error:
        raise BadRequestError(str(error)) from error
