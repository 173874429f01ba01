"""Which convolutions stay in floats: the most sensitive, twice as many each time, until the gate holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tqdm import tqdm

from export.quantisation.gate import Answers, Exam, Verdict, compare, distance
from export.quantisation.integers import Form, Quantiser

SENSITIVITY_PICTURES: Final = 2
"""Of the exam, by which single layers are compared: an order is wanted, not a verdict."""


class GateError(RuntimeError):
    """A graph that fails even where all its layers stay in floats."""


@dataclass(frozen=True)
class Quantised:
    """A graph that has passed, and how.

    ``floating`` names the convolutions that stay in floats; ``sensitivity`` says of each convolution by how
    much the answers change where it alone is in integers, measured only where some had to stay out.
    """

    form: Form
    graph: bytes
    verdict: Verdict
    convolutions: int
    floating: tuple[str, ...] = ()
    sensitivity: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """What the manifest says of it."""
        return {
            "form": self.form.name,
            "convolutions": self.convolutions,
            "in_floats": list(self.floating),
            "sensitivity": dict(self.sensitivity),
            **self.verdict.to_json(),
        }


def search(quantiser: Quantiser, form: Form, exam: Exam, original: Answers) -> Quantised:
    """Put all into integers, and take out the most sensitive layers until the gate holds.

    Twice as many each time, as a judgement takes long: some may stay out that need not.

    Args:
        quantiser: of the graph.
        form: wanted.
        exam: judges.
        original: the graph's own answers to it.

    Raises:
        GateError: no choice of layers passes.
    """
    convolutions = quantiser.trunk.convolutions
    sensitivity = dict[str, float]()
    count = 0
    while count < len(convolutions):
        floating = tuple(sorted(sensitivity, key=sensitivity.__getitem__, reverse=True)[:count])
        graph = quantiser.quantise(form, [name for name in quantiser.trunk.nodes if name not in floating])
        verdict = compare(exam, original, exam.take(graph))
        if verdict.holds:
            return Quantised(form, graph, verdict, len(convolutions), floating, sensitivity)
        sensitivity = sensitivity or _sensitivity(quantiser, form, exam)
        count = 2 * count or 1
    raise GateError(
        f"{form.file}: the gate does not hold, even with {len(floating)} of {len(convolutions)} convolutions "
        "in floats; "
        "the pictures may be too few or unlike those that it was calibrated on"
    )


def _sensitivity(quantiser: Quantiser, form: Form, exam: Exam) -> dict[str, float]:
    few = exam.feeds[:SENSITIVITY_PICTURES]
    original = exam.take(quantiser.graph, few)
    return {
        layer: distance(original, exam.take(quantiser.quantise(form, [layer]), few))
        for layer in tqdm(quantiser.trunk.convolutions, desc="sensitivity", unit="layer", disable=None)
    }
