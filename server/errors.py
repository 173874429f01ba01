"""What can go wrong when a server is started or watched.

::

    ServerError
    ├── MissingPackageError    the environment lacks what the server runs on
    ├── MissingModelError      a repository or model is not there, or its weights are not built
    ├── DamagedGalleryError    a gallery's files are not what was written, and no former one can be served
    ├── AddressError           a port is in use, or the address is not one of this machine
    ├── CertificateError       a TLS file cannot be read, or is none
    └── TritonFailedError      tritonserver or a model process ended, or does not answer as it must
"""

from __future__ import annotations


class ServerError(Exception):
    """Root of all errors of the launcher; the message says what to do."""


class MissingPackageError(ServerError):
    """The environment lacks what the server runs on."""


class MissingModelError(ServerError):
    """A repository or model is not there, or its weights are not built."""


class DamagedGalleryError(ServerError):
    """A gallery's files are not what was written, and no former version can be served."""


class AddressError(ServerError):
    """A port is in use, or the address is not one of this machine."""


class CertificateError(ServerError):
    """A TLS file cannot be read, or is none."""


class TritonFailedError(ServerError):
    """Tritonserver or a model process ended, or does not answer as it must."""
