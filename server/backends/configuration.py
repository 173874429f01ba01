"""What the stand-in backends read from a Triton model configuration, given as JSON by the server.

Defaults and messages follow ``backend_common.cc`` of triton-inference-server/backend.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

Configuration = dict[str, Any]
"""The JSON form of Triton's ``ModelConfig``."""


class InvalidConfigurationError(ValueError):
    """The model and its configuration do not fit together, or the configuration is not possible."""


def parameter(configuration: Configuration, key: str) -> str | None:
    """The string value of a model parameter, None where it is not set."""
    entry = configuration.get("parameters", {}).get(key)
    return None if entry is None else str(entry["string_value"])


def integer_parameter(configuration: Configuration, key: str, default: int) -> int:
    """A model parameter read as an integer (``ParseIntValue``).

    Raises:
        InvalidConfigurationError: the value does not begin with one.
    """
    value = parameter(configuration, key)
    if value is None:
        return default
    # As std::stoi: white space before and anything after the number do no harm.
    found = re.match(r"\s*([+-]?\d+)", value)
    if found is None:
        raise InvalidConfigurationError(f"failed to convert '{value}' to integral number (parameter '{key}')")
    return int(found[1])


def boolean_parameter(configuration: Configuration, key: str, *, default: bool) -> bool:
    """A model parameter read as true, on or 1, or false, off or 0, in any case (``ParseBoolValue``).

    Raises:
        InvalidConfigurationError: the value is none of these.
    """
    value = parameter(configuration, key)
    if value is None:
        return default
    if value.lower() in ("true", "on", "1"):
        return True
    if value.lower() in ("false", "off", "0"):
        return False
    raise InvalidConfigurationError(f"failed to convert '{value}' to boolean (parameter '{key}')")


def refuse_decoupled(configuration: Configuration) -> None:
    """Refuse a model that answers a request several times, or not at all.

    Raises:
        InvalidConfigurationError: the configuration says so.
    """
    if configuration.get("model_transaction_policy", {}).get("decoupled"):
        raise InvalidConfigurationError(
            f"unable to load model '{configuration['name']}', 'decoupled' needs the native backend of "
            "NVIDIA's container: this one answers each request once"
        )


def shape_text(shape: list[int]) -> str:
    """``[-1,16]``, as ``ShapeToString`` writes it."""
    return "[" + ",".join(map(str, shape)) + "]"


def version_folder(configuration: Configuration) -> Path:
    """Folder of the version whose configuration this process is to complete.

    Triton names it to a Python-based backend only when it loads an instance. But it starts every process
    with the path of the version's model file as first argument (``StubLauncher::Launch`` in
    ``src/stub_launcher.cc`` of triton-inference-server/python_backend).
    """
    _, model_file, *_ = Path("/proc/self/cmdline").read_bytes().decode().split("\0")
    file = Path(configuration.get("default_model_filename") or "model.py")
    return Path(model_file).parents[len(file.parts) - 1]
