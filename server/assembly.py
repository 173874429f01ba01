"""The folder from which tritonserver takes its backends, put together from pip packages.

``nvidia-pytriton`` brings the server, the Python backend and the response cache; the stand-ins for
the native ``onnxruntime`` and ``dali`` backends are in ``server/backends``.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from server.backends.pulse import FOLDER_VARIABLE
from server.errors import MissingPackageError

CHECKOUT = Path(__file__).resolve().parent.parent
STAND_INS = ("onnxruntime", "dali")
STUB = "triton_python_backend_stub"


@dataclass(frozen=True)
class Installation:
    """Where ``nvidia-pytriton`` keeps the server: a folder with ``bin``, ``backends`` and ``caches``."""

    folder: Path

    @classmethod
    def find(cls) -> Installation:
        """The server in the running environment.

        Raises:
            MissingPackageError: it is not installed, or has no stub for this Python.
        """
        # Found, not imported: the package itself starts threads and reads the environment.
        spec = importlib.util.find_spec("pytriton")
        if spec is None or spec.origin is None:
            raise MissingPackageError("nvidia-pytriton is not installed; run: pip install -e '.[server]'")
        installation = cls(Path(spec.origin).parent / "tritonserver")
        if not installation.stub.exists():
            have = sorted(folder.name for folder in installation.stub.parent.parent.glob("*"))
            raise MissingPackageError(
                f"nvidia-pytriton has no Python backend for Python {_python()}; use one of {', '.join(have)}"
            )
        return installation

    @property
    def server(self) -> Path:
        """The ``tritonserver`` binary."""
        return self.folder / "bin" / "tritonserver"

    @property
    def caches(self) -> Path:
        """Folder of the response caches."""
        return self.folder / "caches"

    @property
    def stub(self) -> Path:
        """The program that runs a Python model, for the running Python version."""
        return self.folder / "python_backend_stubs" / _python() / STUB


def _python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def assemble_backends(installation: Installation, folder: Path) -> None:
    """Fill the empty ``folder`` with the backends."""
    python = folder / "python"
    python.mkdir()
    for file in (installation.folder / "backends" / "python").iterdir():
        if file.is_file() and file.name != STUB:
            shutil.copy(file, python)  # Triton loads no library from elsewhere
    # A link, not a copy: the stub finds its libraries relative to where it really lies.
    (python / STUB).symlink_to(installation.stub)
    for name in STAND_INS:
        (folder / name).mkdir()
        (folder / name / "model.py").symlink_to(CHECKOUT / "server" / "backends" / name / "model.py")


def server_environment(temporary: Path, pulses: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Environment variables of tritonserver, made from those of this process.

    Args:
        temporary: for what the model processes write for a while: they end without clearing it.
        pulses: for their signs of life.
        environment: variables of this process.
    """
    scripts, packages = sysconfig.get_path("scripts"), sysconfig.get_path("purelib")
    changed = {
        **environment,
        "PATH": _joined(scripts, environment.get("PATH")),
        "PYTHONPATH": _joined(
            packages, str(CHECKOUT / "client"), str(CHECKOUT), environment.get("PYTHONPATH")
        ),
        "TMPDIR": str(temporary),
        FOLDER_VARIABLE: str(pulses),
        # A process a model instance: the pools that numpy would start in each only take memory.
        "OMP_NUM_THREADS": environment.get("OMP_NUM_THREADS", "1"),
        "OPENBLAS_NUM_THREADS": environment.get("OPENBLAS_NUM_THREADS", "1"),
        # Each further heap of glibc's would keep the size of the largest messages that it has seen.
        "MALLOC_ARENA_MAX": environment.get("MALLOC_ARENA_MAX", "1"),
    }
    library_folder = sysconfig.get_config_var("LIBDIR")
    library = sysconfig.get_config_var("INSTSONAME")
    if library_folder and library and (Path(library_folder) / library).exists():
        changed["LD_LIBRARY_PATH"] = _joined(library_folder, environment.get("LD_LIBRARY_PATH"))
    return changed


def _joined(*paths: str | None) -> str:
    return os.pathsep.join(path for path in paths if path)
