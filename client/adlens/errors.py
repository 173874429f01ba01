"""Everything that adlens raises, as one tree. Catch ``AdlensError`` to catch it all.

::

    AdlensError
    |-- CallerError                the caller's fault: the same call fails again
    |   |-- InvalidConfiguration   a setting or a catalogue file is wrong
    |   |-- BadImage               what was given is no picture that can be read
    |   |   `-- TooLarge           more pixels, bytes or scans than the limits of adlens.contract
    |   |-- BadCustomer            a customer's record does not fit the offer model's schema
    |   |-- BadContext             a campaign, or a target, that the conversion model does not know
    |   |   `-- BadPost            what is said of a post cannot be, or its file cannot be read
    |   |-- BadAccount             an account's blocks do not fit the ranker, or its file cannot be read
    |   |-- BadFilter              a choice of photos that the gallery, or FILTER, cannot express
    |   |-- NoPictures             a folder that cannot be listed, or holds no picture file
    |   |-- NoFace                 a photo in which no face was found, for a gallery of faces
    |   |-- GalleryError           a gallery cannot be read, or cannot be changed or searched like this
    |   |   |-- CorruptGallery     its files are not what its manifest says
    |   |   |-- WrongEmbedder      its vectors were made by other weights than the embedder's
    |   |   |-- DuplicateId        two photos with one id
    |   |   |-- BadRecord          an id, attribute or vector that a gallery cannot take
    |   |   `-- GalleryBusy        another program is changing it
    |   |-- BadRequest             the server refused the request's tensors
    |   |   `-- RequestTooLarge    more bytes than travel in one request, though each picture may be fine
    |   |-- UnknownModel           the server does not serve the model asked for
    |   `-- Closed                 the connection was closed before the call
    `-- ServerError                the server's fault: the same call may pass later, or elsewhere
        |-- Unavailable            nobody answers at the URL, or the server is being started anew
        |-- NotSent                never sent, as the server failed the calls before
        |-- Overloaded             it has all it can take, or the request waited for too long
        |-- Draining               it is shutting down, or has unloaded the model
        |-- Denied                 it answers, but not to this caller
        |-- Timeout                no answer before the deadline
        `-- ServerFault            it failed while answering, or its answer breaks the contract

``code`` is the gRPC status under which each travels (``google.rpc.Code``). A message says what was
wrong, with the value, and what to do about it.
"""

# ruff: noqa: N818 - the branch says that these are errors, the name says which, as in httpx.
from __future__ import annotations

from typing import ClassVar

import grpc


class AdlensError(Exception):
    """Root of the tree."""

    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN
    ends_run: ClassVar[bool] = False
    """True where no other request of the same run can fare better, so that a run over many stops."""

    @property
    def kind(self) -> str:
        """Name of the class, as shown in JSON."""
        return type(self).__name__


class CallerError(AdlensError):
    """The caller's fault: the same call fails again."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class InvalidConfiguration(CallerError):
    """A setting or a catalogue file is wrong."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    ends_run = True


class BadImage(CallerError):
    """What was given is no picture that can be read."""


class TooLarge(BadImage):
    """More pixels, bytes or scans than the limits of ``adlens.contract``."""


class BadCustomer(CallerError):
    """A customer's record cannot be read, or does not fit the offer model's schema."""


class BadContext(CallerError):
    """A campaign's context has a value that the conversion model does not know, or its target is none."""

    ends_run = True


class BadPost(BadContext):
    """What is said of a post (``adlens.posts``) cannot be, or its file cannot be read."""

    ends_run = False


class BadAccount(CallerError):
    """An account's blocks of features do not fit the ranker of influencers, or its file cannot be read."""


class BadFilter(CallerError):
    """A choice of photos that FILTER cannot express, or by an attribute that the gallery lacks."""

    ends_run = True


class NoPictures(CallerError):
    """A folder that cannot be listed, or holds no picture file."""

    code = grpc.StatusCode.NOT_FOUND


class NoFace(CallerError):
    """A photo in which no face was found, for a gallery of faces."""

    code = grpc.StatusCode.NOT_FOUND


class GalleryError(CallerError):
    """A gallery cannot be read, or cannot be changed or searched like this; it is as it was."""


class CorruptGallery(GalleryError):
    """A gallery's files are not what its manifest says."""

    code = grpc.StatusCode.DATA_LOSS
    ends_run = True


class WrongEmbedder(GalleryError):
    """A gallery's vectors were made by other weights than those that embed the faces to be found in it."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    ends_run = True


class DuplicateId(GalleryError):
    """Two photos with one id."""

    code = grpc.StatusCode.ALREADY_EXISTS


class BadRecord(GalleryError):
    """An id, attribute or vector that a gallery cannot take."""


class GalleryBusy(GalleryError):
    """Another program is changing the gallery."""

    code = grpc.StatusCode.ABORTED
    ends_run = True


class BadRequest(CallerError):
    """The server refused the request's tensors."""


class RequestTooLarge(BadRequest):
    """More bytes than travel in one request, though each picture may be fine: send fewer at a time."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class UnknownModel(CallerError):
    """The server does not serve the model asked for."""

    code = grpc.StatusCode.NOT_FOUND
    ends_run = True


class Closed(CallerError):
    """The connection was closed before the call."""

    code = grpc.StatusCode.CANCELLED
    ends_run = True


class ServerError(AdlensError):
    """The server's fault: the same call may pass later, or elsewhere."""

    code = grpc.StatusCode.INTERNAL


class Unavailable(ServerError):
    """Nobody answers at the URL, or the server is being started anew."""

    code = grpc.StatusCode.UNAVAILABLE
    ends_run = True


class NotSent(ServerError):
    """Never sent, as the server failed the calls before."""

    code = grpc.StatusCode.ABORTED
    ends_run = True


class Overloaded(ServerError):
    """The server has all it can take, or the request waited in its queue for too long."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class Draining(ServerError):
    """The server is shutting down, or has unloaded the model."""

    code = grpc.StatusCode.UNAVAILABLE
    ends_run = True


class Denied(ServerError):
    """The server answers, but not to this caller."""

    code = grpc.StatusCode.PERMISSION_DENIED
    ends_run = True


class Timeout(ServerError):
    """No answer before the deadline."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class ServerFault(ServerError):
    """The server failed while answering, or its answer breaks ``adlens.contract``."""
