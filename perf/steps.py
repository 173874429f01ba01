"""Where a request's time goes within the server: queue and compute of each step, by Triton's own count."""

from __future__ import annotations

from typing import Final, Self

import tritonclient.grpc as triton

from perf.analyzer import ADMIN_HEADER

PARTS: Final = ("queue", "compute_input", "compute_infer", "compute_output")
"""Of Triton's statistics: waiting, the way of tensors to the model, the model, and the way back."""
Totals = dict[str, tuple[int, dict[str, int]]]
"""By model: requests that succeeded, and nanoseconds of each part."""


class Steps:
    """Tells what each model has spent a request since this was made, or since it was last asked."""

    def __init__(self, url: str, token: str) -> None:
        """Begin.

        Args:
            url: HOST:PORT of the server.
            token: its admin token, which opens the statistics.
        """
        self._client = triton.InferenceServerClient(url)
        self._headers = {ADMIN_HEADER: token}
        self._before = self._totals()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def __call__(self) -> dict[str, dict[str, float]]:
        """Milliseconds a request of each model that ran, part by part."""
        now = self._totals()
        found: dict[str, dict[str, float]] = {}
        for model, (requests, spent) in now.items():
            before, spent_before = self._before.get(model, (0, dict.fromkeys(PARTS, 0)))
            if answered := requests - before:
                found[model] = {
                    part: round((spent[part] - spent_before[part]) / answered / 1e6, 3) for part in PARTS
                }
        self._before = now
        return found

    def _totals(self) -> Totals:
        told = self._client.get_inference_statistics(headers=self._headers).model_stats
        return {
            each.name: (
                int(each.inference_stats.success.count),
                {part: int(getattr(each.inference_stats, part).ns) for part in PARTS},
            )
            for each in told
        }
