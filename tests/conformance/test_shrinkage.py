"""The arena is given back after every run, but for those that the configuration calls small."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from server.backends.configuration import InvalidConfigurationError
from server.backends.onnxruntime.session import ARENA_SHRINKAGE
from server.backends.onnxruntime.shrinkage import PARAMETER, Shrinkage


def configuration(above: str | None) -> dict[str, Any]:
    parameters = {ARENA_SHRINKAGE: {"string_value": "cpu:0"}}
    if above is not None:
        parameters[PARAMETER] = {"string_value": above}
    return {"name": "faces", "input": [{"name": "PIXELS"}, {"name": "FACE_COUNT"}], "parameters": parameters}


def shrinks(above: str | None, faces: list[int]) -> bool:
    feed = {"FACE_COUNT": np.array(faces, np.int32)[:, None]}
    options = Shrinkage(configuration(above)).options(feed)
    return options is not None and options.get_run_config_entry(ARENA_SHRINKAGE) == "cpu:0"


@pytest.mark.parametrize("faces", [[0], [1], [2], [1, 1]])
def test_without_the_parameter_every_run_gives_back(faces: list[int]) -> None:
    assert shrinks(None, faces)


@pytest.mark.parametrize(("faces", "expected"), [([0], False), ([1], False), ([2], True), ([1, 1], True)])
def test_only_large_runs_give_back_where_it_says_what_is_small(faces: list[int], expected: bool) -> None:
    assert shrinks("FACE_COUNT 1", faces) == expected


@pytest.mark.parametrize("value", ["", "FACE_COUNT", "FACES 1", "FACE_COUNT some", "FACE_COUNT -1", "1"])
def test_what_cannot_be_read_is_refused(value: str) -> None:
    with pytest.raises(InvalidConfigurationError, match=PARAMETER):
        Shrinkage(configuration(value))
