"""What figures were measured on, and with: they mean nothing without."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from perf.serving import CHECKOUT
from perf.throughput import machine

PACKAGES: Final = ("nvidia-pytriton", "onnxruntime", "nvidia-dali-cuda130", "torch", "numpy", "grpcio")


def describe() -> dict[str, Any]:
    """Processor, cores, GPUs, kernel, and versions of what computes."""
    return {
        **machine(),
        "gpus": _gpus(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
    }


def moment() -> dict[str, Any]:
    """When, of which commit, and how busy the machine was already."""
    return {
        "commit": _commit(),
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "load_before": round(os.getloadavg()[0], 2),
    }


def _gpus() -> list[str]:
    found = shutil.which("nvidia-smi")
    if found is None:
        return []
    told = _said(found, "--query-gpu=name", "--format=csv,noheader")
    return told.splitlines() if told else []


def _commit() -> str:
    git = shutil.which("git")
    if git is None:
        return ""
    changed = _said(git, "status", "--porcelain", "--untracked-files=no")
    return _said(git, "rev-parse", "--short=12", "HEAD") + ("+changes" if changed else "")


def _said(*command: str) -> str:
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    return "" if done.returncode else done.stdout.strip()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
