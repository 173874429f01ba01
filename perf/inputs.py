"""What benchmarks send: JPEGs of any size and number of faces, and tensors that earlier steps made of them.

All comes from the generated pictures (``python -m export.generated``), which show one face each.
"""

from __future__ import annotations

import io
import math
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adlens import contract, filters
from adlens.transport import Connection
from perf.engagement import CONTEXT
from perf.serving import CHECKOUT
from perf.throughput import Jpeg, read_pictures

HEAD: Final = (120, 0, 330, 210)
"""Where the face and what is around it lie on the generated pictures: x1, y1, x2, y2."""
GRAIN: Final = 5.0
"""Standard deviation of the noise on enlarged pictures, in steps of a byte: as large as a photo's files."""
QUALITY: Final = 92
_SOI, _COMMENT = b"\xff\xd8", b"\xff\xfe"
Tensors = dict[str, NDArray[Any]]
"""By name, without the batch dimension."""
_ACCOUNTS: Final = np.random.default_rng(1)
GIVEN: Final[Tensors] = {
    contract.FILTER: filters.encode({})[0],
    contract.CUSTOMER: np.zeros(contract.MAX_FEATURES, np.float32),
    contract.WANTED: np.ones(contract.MAX_VARIANTS, np.uint8),
    contract.CONTEXT: np.zeros(len(contract.CONTEXT_NAMES), np.int32),
    contract.POST: CONTEXT[0],
    contract.ACCOUNT: _ACCOUNTS.random(contract.MAX_ACCOUNT, np.float32),
    contract.RANGES: np.array([[-np.inf, np.inf]] * len(contract.ACCOUNT_NUMBERS), np.float32),
}
"""What callers send beside a picture: all may be found, all variants are wanted."""


def generated(folder: Path) -> list[Jpeg]:
    """The generated pictures, 512x512, written to ``folder`` if they are not there."""
    if not list(folder.glob("*.jpg")):
        command = [sys.executable, "-m", "export.generated", str(folder)]
        subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True)
    return read_pictures(folder)


def sized(jpeg: Jpeg, side: int) -> Jpeg:
    """The picture with ``side`` pixels a side, with the grain of a photo."""
    image = _opened(jpeg).resize((side, side), Image.Resampling.BICUBIC)
    noise = np.random.default_rng(side).normal(0, GRAIN, (side, side, 1)).astype(np.float32)
    grainy = (np.asarray(image, np.float32) + noise).clip(0, 255).astype(np.uint8)
    return _jpeg(Image.fromarray(grainy))


def crowd(jpegs: Sequence[Jpeg], faces: int) -> Jpeg:
    """A picture that fills the canvas with ``faces`` heads of the given pictures, on grey."""
    abreast = max(1, math.isqrt(max(faces - 1, 0)) + 1)
    tile = contract.CANVAS // abreast
    canvas = Image.new("RGB", (contract.CANVAS, contract.CANVAS), (127, 127, 127))
    for number in range(faces):
        head = _opened(jpegs[number % len(jpegs)]).crop(HEAD).resize((tile, tile), Image.Resampling.LANCZOS)
        canvas.paste(head, (number % abreast * tile, number // abreast * tile))
    return _jpeg(canvas)


def unique(jpeg: Jpeg, number: int) -> Jpeg:
    """The same picture in a file of its own: with ``number`` in a comment."""
    text = number.to_bytes(8, "big")
    length = (2 + len(text)).to_bytes(2, "big")
    return np.frombuffer(_SOI + _COMMENT + length + text + jpeg.tobytes()[len(_SOI) :], np.uint8)


def tensors(connection: Connection, jpeg: Jpeg, wanted: Iterable[str]) -> Tensors:
    """The tensors of the ``wanted`` names for a picture: given, or by a server that has the earlier steps.

    Raises:
        AdlensError: the server has not, or refuses the picture.
        KeyError: no model makes one.
    """
    known: Tensors = {contract.IMAGE: jpeg, **GIVEN}
    for name in wanted:
        _make(connection, name, known)
    return {name: known[name] for name in wanted}


def _make(connection: Connection, name: str, known: Tensors) -> None:
    if name in known:
        return
    # Leaves stand before the ensembles that give their outputs out, too.
    model = next((model for model, (_, outputs) in contract.MODELS.items() if name in outputs), None)
    if model is None:
        raise KeyError(f"no model makes {name}")
    inputs = contract.MODELS[model].inputs
    for each in inputs:
        _make(connection, each, known)
    answer = connection.infer(model, {each: known[each][np.newaxis] for each in inputs})
    known |= {each: value[0] for each, value in answer.outputs.items() if each not in known}


def _opened(jpeg: Jpeg) -> Image.Image:
    return Image.open(io.BytesIO(jpeg.tobytes())).convert("RGB")


def _jpeg(image: Image.Image) -> Jpeg:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY)
    return np.frombuffer(buffer.getvalue(), np.uint8)
