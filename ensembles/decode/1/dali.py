"""JPEG bytes to an EXIF-oriented RGB canvas, serialised by DALI where the server loads the model.

IMAGE uint8 [bytes] -> PIXELS uint8 [640, 640, 3], PICTURE_SIZE int32 [2]: height and width of the
oriented picture in its own pixels. The picture lies at the top left, the rest is black. A picture
that fits keeps its pixels; a larger one is shrunk, with antialiasing, until its longest side is 640.

Where the pipeline has a GPU, pictures are decoded and shrunk there, and PIXELS stays there for the next
model. Who builds it may say so by ``device_id``; the native backend does not (``invoke_autoserialize`` in
NVIDIA/DALI), and gets GPU 0 where the driver knows one: hide it (CUDA_VISIBLE_DEVICES="") for a profile
that decodes on the CPU.

The native DALI backend runs this file with its own Python, where adlens is not installed. So the
facts of ``adlens.contract`` stand here as literals; ``tests/ensembles/test_decode.py`` holds them
against it.
"""

import ctypes

import nvidia.dali as dali
from nvidia.dali import fn, types
from nvidia.dali.data_node import DataNode
from nvidia.dali.plugin.triton import autoserialize

CANVAS = 640
"""Side of the square canvas, ``adlens.contract.CANVAS``."""
MAX_BATCH = 8
"""Largest batch, ``adlens.contract.MAX_BATCH``; Triton's configuration overrides it."""
HARDWARE_SHARE = 0.65
"""Of pictures decoded by the GPU's JPEG engine, where it has one; its other units take the rest. DALI's
default; the best depends on the GPU and on ``num_threads``, and is to be found by trying."""
USUAL_SIDE = 1920
"""Memory for pictures up to this side is taken before the first one comes, not while they wait."""


def first_gpu() -> int | None:
    """Number of the GPU to use where nobody names one, None where the driver knows none."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    count = ctypes.c_int()
    failed = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    return None if failed or not count.value else 0


def decoded(jpeg: DataNode) -> DataNode:
    """The oriented picture, uint8 [h, w, 3], by the GPU where the pipeline has one."""
    options = {"output_type": types.RGB, "adjust_orientation": True}
    if dali.Pipeline.current().device_id is None:
        return fn.decoders.image(jpeg, device="cpu", **options)
    return fn.decoders.image(
        jpeg,
        device="mixed",
        hw_decoder_load=HARDWARE_SHARE,
        preallocate_width_hint=USUAL_SIDE,
        preallocate_height_hint=USUAL_SIDE,
        jpeg_fancy_upsampling=True,  # as the CPU does
        **options,
    )


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
@dali.pipeline_def(batch_size=MAX_BATCH, num_threads=1, device_id=first_gpu(), enable_conditionals=True)
def decode() -> tuple[DataNode, DataNode]:
    """The pipeline; see the head of this file."""
    jpeg = fn.external_source(name="IMAGE", device="cpu", dtype=types.UINT8, ndim=1)
    picture = decoded(jpeg)
    size = picture.shape(dtype=types.INT32)[:2]
    longest = fn.reductions.max(size)
    # Only where needed: on a CPU `fn.resize` costs 4 ms even where it changes nothing.
    if longest > CANVAS:
        fitted = fn.resize(picture, size=fitted_size(size, longest), antialias=True)
    else:
        fitted = picture
    return canvas(fitted), size
