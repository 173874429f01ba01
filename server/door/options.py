"""Where the door is, and whom it lets in."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from adlens.contract import MAX_BATCH, MAX_REQUEST_BYTES
from server.errors import CertificateError


@dataclass(frozen=True)
class DoorTls:
    """PEM files of the encryption; with ``authorities``, callers must show a certificate of theirs."""

    certificate: Path
    key: Path
    authorities: Path | None = None

    def credentials(self) -> grpc.ServerCredentials:
        """Read the files.

        Raises:
            CertificateError: one cannot be read, or is none.
        """
        try:
            pair = (self.key.read_bytes(), self.certificate.read_bytes())
            authorities = self.authorities.read_bytes() if self.authorities else None
            # gRPC would only say that it cannot listen.
            check = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            check.load_cert_chain(self.certificate, self.key, password="")
            if self.authorities:
                check.load_verify_locations(self.authorities)
        except OSError as error:  # what ssl raises is one, too
            raise CertificateError(
                f"TLS file {error.filename or self.certificate} cannot be used: {error}"
            ) from error
        return grpc.ssl_server_credentials([pair], authorities, authorities is not None)


@dataclass(frozen=True)
class DoorOptions:
    """Where the door is, and whom it lets in.

    Attributes:
        host: address to listen on.
        port: 0 for any free one.
        max_request_bytes: longer messages are refused unread.
        max_in_flight: inference requests, and inference streams, that Triton has at once; further ones
            are refused at once. By default enough for a full batch in eight places of a pipeline.
        admin_token: opens the calls that are not for everyone, in ``guard.ADMIN_HEADER``; None: nothing
            does.
        model_control: whether it opens the loading and unloading of models, too.
        tls: encrypts; None for plain text.
        response_cache_bytes: of answers that are kept, and given again; 0 keeps none.
    """

    host: str = "127.0.0.1"
    port: int = 8001
    max_request_bytes: int = MAX_REQUEST_BYTES
    max_in_flight: int = 8 * MAX_BATCH
    admin_token: str | None = None
    model_control: bool = False
    tls: DoorTls | None = None
    response_cache_bytes: int = 0

    def address(self, port: int) -> str:
        """``host:port`` as gRPC takes it."""
        return f"[{self.host}]:{port}" if ":" in self.host else f"{self.host}:{port}"
