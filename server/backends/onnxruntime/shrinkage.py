"""After which runs the arena gives back what it took: ``memory.enable_memory_arena_shrinkage``.

The native backend shrinks after each run, and so does this one. But to take it anew, page by page, costs
the next run up to a tenth of its time. ``adlens_shrink_above``, such as ``FACE_COUNT 1``, says which runs are
small, by the sum of one of their inputs: after these the arena stays, and what it keeps is what such a run
takes; a crowd's goes. The native backend does not read the parameter.
"""

from __future__ import annotations

import onnxruntime

from server.backends.configuration import Configuration, InvalidConfigurationError, parameter
from server.backends.onnxruntime.batch import Tensors
from server.backends.onnxruntime.session import run_options

PARAMETER = "adlens_shrink_above"


def shrink_above(configuration: Configuration) -> tuple[str, int] | None:
    """The input whose sum tells small runs, and the most that it is of one; None where none are small.

    Raises:
        InvalidConfigurationError: it is no name of an input and a number.
    """
    value = parameter(configuration, PARAMETER)
    if value is None:
        return None
    name, _, most = value.partition(" ")
    if name not in {entry["name"] for entry in configuration.get("input", [])} or not most.isdecimal():
        raise InvalidConfigurationError(
            f"{PARAMETER} is {value!r}; it must be an input and the most that its sum is of a small run, "
            "such as 'FACE_COUNT 1'"
        )
    return name, int(most)


class Shrinkage:
    """Options for each run of one model."""

    def __init__(self, configuration: Configuration) -> None:
        """Read from a configuration.

        Raises:
            InvalidConfigurationError: as ``shrink_above``.
        """
        self._options = run_options(configuration)
        self._small = shrink_above(configuration)

    def options(self, feed: Tensors) -> onnxruntime.RunOptions | None:
        """Of a run on ``feed``."""
        if self._small is not None:
            name, most = self._small
            if int(feed[name].sum()) <= most:
                return None
        return self._options
