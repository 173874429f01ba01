"""Fixtures of the container's tests."""

from __future__ import annotations

import shutil
import sysconfig
from collections.abc import Callable

import pytest


@pytest.fixture
def which() -> Callable[[str], str]:
    """Finds a program of the environment."""

    def find(program: str) -> str:
        found = shutil.which(program, path=sysconfig.get_path("scripts")) or shutil.which(program)
        if found is None:
            pytest.skip(f"{program} is not installed: make install")
        return found

    return find
