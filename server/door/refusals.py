"""What callers are told whose call ends without an answer: status, words, and a reason for programs."""

from __future__ import annotations

import grpc

from adlens.contract import REASON_HEADER, Reason

Metadata = tuple[tuple[str, str | bytes], ...]


class Refusal(Exception):  # noqa: N818 - named for what it is to the caller
    """A call ends with this status.

    Attributes:
        code: the gRPC status.
        details: for people.
        reason: for programs, where the status alone does not tell.
        metadata: trailing metadata, reason included.
    """

    def __init__(
        self, code: grpc.StatusCode, details: str, reason: Reason | None = None, metadata: Metadata = ()
    ) -> None:
        super().__init__(details)
        self.code, self.details, self.reason = code, details, reason
        self.metadata = metadata if reason is None else (*metadata, (REASON_HEADER, reason.value))


def overloaded(why: str) -> Refusal:
    """Not UNAVAILABLE, which gRPC clients retry on their own: that would feed the overload."""
    return Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{why}; send fewer at a time", Reason.OVERLOADED)


def draining() -> Refusal:
    """UNAVAILABLE, so that clients retry: at another server, as this one listens no longer."""
    return Refusal(grpc.StatusCode.UNAVAILABLE, "the server is shutting down", Reason.DRAINING)


def restarting(details: str, metadata: Metadata = ()) -> Refusal:
    """UNAVAILABLE, so that clients retry: the next attempt waits at the door."""
    return Refusal(grpc.StatusCode.UNAVAILABLE, details, Reason.RESTARTING, metadata)


def denied(details: str) -> Refusal:
    """The caller may not."""
    return Refusal(grpc.StatusCode.PERMISSION_DENIED, details, Reason.DENIED)


def poison(minutes: float) -> Refusal:
    """INVALID_ARGUMENT, so that nobody tries again."""
    return Refusal(
        grpc.StatusCode.INVALID_ARGUMENT,
        f"the server died twice while it ran this request, which is refused for {minutes:g} minutes",
        Reason.POISON,
    )
