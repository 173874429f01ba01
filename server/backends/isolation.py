"""Running a batch so that one bad item never harms its neighbours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class BadRequestError(ValueError):
    """A request that cannot be run, whatever its neighbours; the message is for the caller."""


def run_isolated(
    items: Sequence[Item],
    run: Callable[[Sequence[Item]], list[Result]],
    run_part: Callable[[Sequence[Item]], list[Result]] | None = None,
) -> list[Result | Exception]:
    """``run`` over ``items`` as one batch; where that fails, over its halves, down to single items.

    With one bad item in ``n`` this costs about ``2 log2(n)`` runs more; without any, nothing. ``run_part``,
    where it is given, runs the halves: for a ``run`` whose results last until the next one.

    Returns:
        For each item its result, or the exception that it raises when run alone.
    """
    if not items:
        return []
    try:
        return list(run(items))
    except Exception as error:  # whatever the runtime raises is the answer to this item
        if len(items) == 1:
            return [forgetful(error)]
    part, middle = run_part or run, len(items) // 2
    return run_isolated(items[:middle], part) + run_isolated(items[middle:], part)


def run_together(
    items: Sequence[Item], run: Callable[[Sequence[Item]], list[Result]]
) -> list[Result | Exception]:
    """``run`` over ``items`` as one batch, whose error is every item's: what native backends do."""
    try:
        return list(run(items)) if items else []
    except Exception as error:  # as above
        return [forgetful(error)] * len(items)


def forgetful(error: Exception) -> Exception:
    """``error`` without its traceback, whose frames would keep a batch's tensors alive.

    Kept in a list of answers, an error is part of a cycle with the frame that holds the list, and the
    tensors, with the shared memory that they lie in, would wait for the garbage collector.
    """
    error.__context__ = error.__cause__ = None
    return error.with_traceback(None)
