"""A job that may take more than one request, told apart from the way in which requests are sent.

It yields the name of a model and the inputs to run it on, is sent the response, and returns its answer; so
the one description serves the front doors of threads and of asyncio alike.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any, TypeAlias, TypeVar

import numpy.typing as npt

from adlens.transport import InferResponse

Inputs: TypeAlias = Mapping[str, npt.NDArray[Any]]
Answer = TypeVar("Answer")
Conversation: TypeAlias = Generator[tuple[str, Inputs], InferResponse, Answer]
