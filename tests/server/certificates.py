"""Certificates of an authority of the tests' own, made by OpenSSL's command line."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
CONFIGURATION = "[leaf]\nsubjectAltName = IP:127.0.0.1, DNS:localhost\n"


class Authority:
    """A certificate authority that signs for this machine.

    Attributes:
        certificate: its own, PEM.
    """

    def __init__(self, folder: Path) -> None:
        if shutil.which("openssl") is None:
            if os.environ.get("CI") == "true":
                raise FileNotFoundError("openssl")
            pytest.skip("no `openssl` command on this machine")
        self._folder = folder
        self.certificate = folder / "authority.pem"
        self._key = folder / "authority.key"
        _openssl(
            "req", "-x509", "-nodes", *NEW_KEY, "-days", "2",
            "-subj", "/CN=authority of the tests", "-keyout", self._key, "-out", self.certificate,
        )  # fmt: skip
        (folder / "leaf.cnf").write_text(CONFIGURATION)

    def sign(self, name: str) -> tuple[Path, Path]:
        """Certificate and key of ``name``, PEM."""
        certificate, key = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        request = self._folder / f"{name}.csr"
        _openssl(
            "req", "-nodes", *NEW_KEY, "-subj", f"/CN={name}",
            "-keyout", key, "-out", request,
        )  # fmt: skip
        _openssl(
            "x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial",
            "-days", "2", "-extfile", self._folder / "leaf.cnf", "-extensions", "leaf", "-out", certificate,
        )  # fmt: skip
        return certificate, key


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
