"""What the stand-in backends read from a Triton model configuration, given as JSON by the server.

Defaults and messages follow ``backend_common.cc`` of triton-inference-server/backend.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

Configuration = dict[str, Any]
"""The JSON form of Triton's ``ModelConfig``."""

REPOSITORIES_VARIABLE = "ADLENS_MODEL_REPOSITORIES"
"""Names the model repositories, separated by ``os.pathsep``; set by the launcher.

Triton tells a Python-based backend where its model lies only when it loads an instance, which is
too late for auto-completion.
"""


class InvalidConfigurationError(ValueError):
    """The model and its configuration do not fit together, or the configuration is not possible."""


def parameter(configuration: Configuration, key: str) -> str | None:
    """The string value of a model parameter, None where it is not set."""
    entry = configuration.get("parameters", {}).get(key)
    return None if entry is None else str(entry["string_value"])


def integer_parameter(configuration: Configuration, key: str, default: int) -> int:
    """A model parameter read as an integer.

    Raises:
        InvalidConfigurationError: the value is no integer.
    """
    value = parameter(configuration, key)
    if value is None:
        return default
    try:
        return int(value)
    except ValueError:
        raise InvalidConfigurationError(f"failed to convert '{value}' to integer: {key}") from None


def boolean_parameter(configuration: Configuration, key: str, *, default: bool) -> bool:
    """A model parameter read as true, on or 1, or false, off or 0, in any case.

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
    raise InvalidConfigurationError(f"failed to convert '{value}' to boolean: {key}")


def shape_text(shape: list[int]) -> str:
    """``[-1,16]``, as ``ShapeToString`` writes it."""
    return "[" + ",".join(map(str, shape)) + "]"


def version_folder(configuration: Configuration) -> Path:
    """Folder of the newest version that the server will load, looked up in the repositories.

    Raises:
        InvalidConfigurationError: no repository holds a version of the model.
    """
    name = str(configuration["name"])
    chosen = configuration.get("version_policy", {}).get("specific", {}).get("versions")
    for repository in os.environ.get(REPOSITORIES_VARIABLE, "").split(os.pathsep):
        folder = Path(repository) / name
        versions = [int(entry.name) for entry in folder.glob("*") if entry.name.isdigit()]
        if chosen:
            versions = [version for version in versions if version in {int(item) for item in chosen}]
        if versions:
            return folder / str(max(versions))
    raise InvalidConfigurationError(
        f"no version folder of model '{name}' in the repositories of {REPOSITORIES_VARIABLE}"
    )
