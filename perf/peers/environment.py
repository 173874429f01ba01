"""Environments of the peers: what is theirs from a pinned list, and the heavy packages from adlens' own."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Final

import click

PEERS: Final = Path(__file__).parent
INSTALL_TIMEOUT_S: Final = 300.0
SHARED: Final = "adlens-shared.pth"
"""Lets a peer's environment find torch, ONNX Runtime and DALI where adlens has them; its own packages win."""


def python_of(peer: str, folder: Path) -> Path:
    """The interpreter of a peer's environment under ``folder``, which is made where its list has changed.

    Raises:
        ClickException: its packages cannot be installed; with what pip said.
    """
    wanted = (PEERS / peer / "requirements.txt").read_text()
    environment = folder / peer
    python, installed = environment / "bin" / "python", environment / "installed.txt"
    if installed.exists() and installed.read_text() == wanted:
        return python
    _run([sys.executable, "-m", "venv", "--clear", str(environment)])
    requirements = PEERS / peer / "requirements.txt"
    _run([str(python), "-m", "pip", "install", "--quiet", "--requirement", str(requirements)])
    # Only now, or pip would count what adlens has, in versions of its own choice.
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = environment / "lib" / version / "site-packages"
    (packages / SHARED).write_text(f"{sysconfig.get_path('purelib')}\n")
    installed.write_text(wanted)
    return python


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False)
    if done.returncode:
        raise click.ClickException(f"{' '.join(command)} failed: {(done.stdout + done.stderr)[-1000:]}")
