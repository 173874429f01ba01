"""What a GPU changes for each leaf: the one table behind profiles, plans and the operator check.

``export.profiles`` writes it into the profiles; ``export.tensorrt`` builds plans by it, and refuses a graph
that TensorRT cannot take where no other engine is chosen here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from adlens import contract


class Engine(StrEnum):
    """What runs a leaf on a machine with a GPU."""

    TENSORRT = "tensorrt"
    """A plan, or ONNX Runtime's TensorRT provider."""
    CUDA = "cuda"
    """ONNX Runtime's CUDA provider: TensorRT cannot build the graph, or should not."""
    CPU = "cpu"
    """ONNX Runtime on the CPU: no provider for GPUs has the operators."""
    DALI = "dali"
    PYTHON = "python"


class Precision(StrEnum):
    """Of the numbers between a graph's inputs and outputs."""

    FP32 = "fp32"
    TF32 = "tf32"
    """Single precision, but products of 10 bits, as tensor cores compute them."""
    FP16 = "fp16"
    INT8 = "int8"


@dataclass(frozen=True)
class Choice:
    """What a GPU changes for a leaf.

    Attributes:
        engine: what runs it.
        why: the reason, for whoever reads the profile.
        batch: largest dynamic batch; at least what a caller may send.
        delay_us: how long a request waits for others to join, in microseconds.
        instances: how many run at once, each with memory of its own but for a plan's weights.
        precision: of a graph that TensorRT or CUDA runs.
        graphs: whether its launches are recorded as CUDA graphs: only where no shape depends on data.
    """

    engine: Engine
    why: str
    batch: int = 64
    delay_us: int = 500
    instances: int = 1
    precision: Precision = Precision.FP16
    graphs: bool = False

    @property
    def preferred(self) -> tuple[int, ...]:
        """Preferred batch sizes, ascending: of what a caller may send at once, twice that, the largest."""
        return tuple(sorted({contract.MAX_BATCH, min(2 * contract.MAX_BATCH, self.batch), self.batch}))


_ATTRIBUTES: Final = Choice(
    Engine.TENSORRT,
    "Faces are gathered within the graph, so shapes depend on data: no CUDA graphs. 32 pictures may hold 512 "
    "faces, which bounds the batch.",
    batch=32,
    instances=2,
)
_GALLERY: Final = Choice(
    Engine.CUDA,
    "Its versions change while it is served: a plan for each would keep callers waiting. The search is "
    "exact, so products are in single precision.",
    precision=Precision.FP32,
)
_TREES: Final = Choice(Engine.CPU, "Trees, which no provider for GPUs runs.", delay_us=100)
_TOWER: Final = Choice(
    Engine.TENSORRT,
    "Sums over 32,768 features: single precision. All shapes are fixed.",
    precision=Precision.FP32,
    graphs=True,
)
_FIXED: Final = Choice(Engine.TENSORRT, "One picture, one row: all shapes are fixed.", graphs=True)
CHOICES: Final = {
    contract.GATE: Choice(
        Engine.PYTHON, "Reads headers, on the CPU: nothing is gained by waiting.", delay_us=0, instances=4
    ),
    contract.DECODE: Choice(
        Engine.DALI,
        "Several instances, so that some pictures are parsed while others are decoded.",
        instances=4,
    ),
    contract.DETECT_FACES: Choice(
        Engine.TENSORRT,
        "Thresholds decide what is a face: single precision. Candidates are gathered within the graph, so "
        "shapes depend on data: no CUDA graphs.",
        instances=2,
        precision=Precision.FP32,
    ),
    **{contract.attributes_model(name): _ATTRIBUTES for name in contract.BACKBONES},
    contract.embed_model(contract.EMBEDDER): Choice(
        Engine.CUDA,
        "Faces are embedded by chunks in a Loop whose result grows, which TensorRT does not take.",
        batch=32,
        precision=Precision.TF32,
    ),
    contract.gallery_model(contract.EMBEDDER): _GALLERY,
    contract.ALTERNATES: _GALLERY,
    contract.INFLUENCERS: _GALLERY,
    contract.VARY_CREATIVE: Choice(
        Engine.TENSORRT,
        "The variants that are wanted are gathered within the graph, up to 8 a picture: no CUDA graphs.",
        batch=16,
    ),
    contract.RENDER_VARIANTS: Choice(
        Engine.CUDA,
        "It is asked for seldom, and a batch takes much memory.",
        batch=contract.MAX_BATCH,
        precision=Precision.TF32,
    ),
    contract.ENGAGEMENT_MODEL: _FIXED,
    contract.DESCRIBE_POST: _FIXED,
    contract.BRAND_TOWER: _TOWER,
    contract.INFLUENCER_TOWER: _TOWER,
    contract.UPLIFT_OFFER: _TREES,
    contract.CONVERSION: _TREES,
}
"""Every leaf, and the gate. Batches, delays and counts are where a GPU starts from: ``perf.gpu`` measures."""


def choice_of(model: str) -> Choice | None:
    """What a GPU changes for a leaf, None for one that is none of ours; other embedders are as dlib's."""
    for kind in (contract.embed_model, contract.gallery_model):
        if model.startswith(kind("")):
            return CHOICES[kind(contract.EMBEDDER)]
    return CHOICES.get(model)
