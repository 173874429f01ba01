"""JPEG bytes to an EXIF-oriented RGB canvas, serialised by DALI where the server loads the model.

IMAGE uint8 [bytes] -> PIXELS uint8 [640, 640, 3], PICTURE_SIZE int32 [2]: height and width of the
oriented picture in its own pixels. The picture lies at the top left, the rest is black. A picture
that fits keeps its pixels; a larger one is shrunk, with antialiasing, until its longest side is 640.

The native DALI backend runs this file with its own Python, where adlens is not installed. So the
facts of ``adlens.contract`` stand here as literals; ``tests/ensembles/test_decode.py`` holds them
against it.
"""

import nvidia.dali as dali
from nvidia.dali import fn, types
from nvidia.dali.data_node import DataNode
from nvidia.dali.plugin.triton import autoserialize

CANVAS = 640
"""Side of the square canvas, ``adlens.contract.CANVAS``."""
MAX_BATCH = 8
"""Largest batch, ``adlens.contract.MAX_BATCH``; Triton's configuration overrides it."""


def fitted_size(size: DataNode, longest: DataNode) -> DataNode:
    """Height and width, whole float32 [2], of a picture shrunk until its longest side fills the canvas."""
    exact = fn.cast(size, dtype=types.FLOAT) * (float(CANVAS) / longest)
    return dali.math.max(dali.math.floor(exact + 0.5), 1.0)


def canvas(picture: DataNode) -> DataNode:
    """``picture``, uint8 [h, w, 3] of at most the canvas's size, with black to its right and below.

    Pasted, as that copies rows whole: DALI's padding goes pixel by pixel.
    """
    return fn.multi_paste(picture, output_size=[CANVAS, CANVAS])


@autoserialize
@dali.pipeline_def(batch_size=MAX_BATCH, num_threads=1, device_id=None, enable_conditionals=True)
def decode() -> tuple[DataNode, DataNode]:
    """The pipeline; see the head of this file."""
    jpeg = fn.external_source(name="IMAGE", device="cpu", dtype=types.UINT8, ndim=1)
    picture = fn.decoders.image(jpeg, device="cpu", output_type=types.RGB, adjust_orientation=True)
    size = picture.shape(dtype=types.INT32)[:2]
    longest = fn.reductions.max(size)
    # Only where needed: on a CPU `fn.resize` costs 4 ms even where it changes nothing.
    if longest > CANVAS:
        fitted = fn.resize(picture, size=fitted_size(size, longest), antialias=True)
    else:
        fitted = picture
    return canvas(fitted), size
