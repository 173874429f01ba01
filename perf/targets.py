"""What the benchmark is held against: ratios of ways that took turns in one run, and their bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from adlens import contract

RESNET, VGG = "resnet50", "vgg16"
PICTURE = contract.RECOMMEND_PRODUCTS
EACH: Final = "/"
"""At the end of a target's name: all ratios that begin so are meant, and the worst of them counts."""


@dataclass(frozen=True)
class Target:
    """One of them.

    Attributes:
        what: is compared.
        ratio: its name among the findings.
        bound: to be reached.
        at_least: whether more is better.
        limit: name of what it is held against, if measured: the same graphs in one process with no server,
            or with the processor time of Triton, door and callers alone; a queue that never idles; or a model
            that computes nothing beside the graph.
    """

    what: str
    ratio: str
    bound: float
    at_least: bool = True
    limit: str | None = None


TARGETS: Final = (
    Target(
        "recommend_products over its stages in one process, by perf_analyzer",
        "served_analyzer_to_in_process",
        0.95,
        limit="with_server_to_in_process",
    ),
    Target(
        "the same, by callers in Python",
        "served_to_in_process",
        0.95,
        limit="with_server_to_in_process",
    ),
    Target(
        "the slowest leaf over its bare graph", f"leaf_to_bare{EACH}", 0.97, limit=f"with_null_to_bare{EACH}"
    ),
    *(
        Target(
            f"the {backbone} leaf over its bare graph",
            f"leaf_to_bare/{contract.attributes_model(backbone)}",
            0.97,
            limit=f"with_null_to_bare/{contract.attributes_model(backbone)}",
        )
        for backbone in (VGG, RESNET)
    ),
    Target("recommend_products over the seed's way", "adlens_to_seed", 10, limit="in_process_to_seed"),
    Target("recommend_products in integers over the seed's way", "in_integers_to_seed", 10),
    Target("the fast ensemble over the seed's way", "fast_to_seed", 25),
    Target(
        "over FastAPI and ONNX Runtime: throughput", "adlens_to_fastapi", 1.05, limit="in_process_to_fastapi"
    ),
    Target(
        "over FastAPI and ONNX Runtime: p99",
        "p99_to_fastapi",
        0.7,
        at_least=False,
        limit="least_p99_to_fastapi",
    ),
    Target("over LitServe: throughput", "adlens_to_litserve", 1.05, limit="in_process_to_litserve"),
    Target("over LitServe: p99", "p99_to_litserve", 0.7, at_least=False, limit="least_p99_to_litserve"),
    Target("int8 over float, ResNet50", f"int8_to_float/{RESNET}", 3.0, limit=f"bare_int8_to_float/{RESNET}"),
    Target("int8 over float, VGG16", f"int8_to_float/{VGG}", 3.0, limit=f"bare_int8_to_float/{VGG}"),
    Target(
        "ResNet50 in int8 over this processor's int8 peak", "int8_of_peak", 0.70, limit="bare_int8_of_peak"
    ),
    Target("latency of a cache miss over a hit", "miss_to_hit", 50),
    Target(
        "p99 at 70 % of the peak over the unloaded median",
        f"p99_at_70_to_unloaded/{PICTURE}",
        3,
        at_least=False,
        limit=f"least_p99_at_70_to_unloaded/{PICTURE}",
    ),
    Target("growth of memory, MB a minute", "memory_mb_per_min", 1, at_least=False),
)
LOWER_IS_BETTER: Final = tuple(target.ratio for target in TARGETS if not target.at_least)


def judge(ratios: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each target with the measured value and whether it is met; both None where it was not measured."""
    return [_judged(target, ratios) for target in TARGETS]


def _judged(target: Target, ratios: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    meant = {
        name: float(ratio["value"])
        for name, ratio in ratios.items()
        if name == target.ratio or (target.ratio.endswith(EACH) and name.startswith(target.ratio))
    }
    worst = min if target.at_least else max
    name = worst(meant, key=lambda each: meant[each], default=None)
    value = None if name is None else meant[name]
    limit = ratios.get(_limit(target, name or ""))
    met = None if value is None else (value >= target.bound if target.at_least else value <= target.bound)
    which = (name or target.ratio).removeprefix(target.ratio)
    return {
        "what": f"{target.what} ({which})" if which else target.what,
        "ratio": name or target.ratio,
        "bound": target.bound,
        "at_least": target.at_least,
        "value": value,
        "met": met,
        "limit": limit and float(limit["value"]),
    }


def _limit(target: Target, name: str) -> str:
    """Of what ``target``, and ``name`` among its ratios, is limited by; empty where nothing is known."""
    limit = target.limit or ""
    return limit + name.removeprefix(target.ratio) if limit.endswith(EACH) else limit
