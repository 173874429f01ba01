"""Which convolutions stay in floats: the fewest that let the gate hold, the most sensitive first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tqdm import tqdm

from export.quantisation.gate import Answers, Exam, Verdict, compare, distance
from export.quantisation.integers import Form, Quantiser

SENSITIVITY_PICTURES: Final = 4
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
    for count in range(len(convolutions)):
        if count == 1:
            sensitivity = _sensitivity(quantiser, form, exam)
        floating = tuple(sorted(sensitivity, key=sensitivity.__getitem__, reverse=True)[:count])
        graph = quantiser.quantise(form, [name for name in quantiser.trunk.nodes if name not in floating])
        verdict = compare(exam, original, exam.take(graph))
        if verdict.holds:
            return Quantised(form, graph, verdict, len(convolutions), floating, sensitivity)
    raise GateError(
        f"{form.file}: the gate does not hold with one layer of {len(convolutions)} in integers; "
        "the pictures may be too few or unlike those that it was calibrated on"
    )


def _sensitivity(quantiser: Quantiser, form: Form, exam: Exam) -> dict[str, float]:
    few = exam.feeds[:SENSITIVITY_PICTURES]
    original = exam.take(quantiser.graph, few)
    return {
        layer: distance(original, exam.take(quantiser.quantise(form, [layer]), few))
        for layer in tqdm(quantiser.trunk.convolutions, desc="sensitivity", unit="layer", disable=None)
    }
