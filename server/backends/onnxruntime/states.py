"""Implicit state of sequences, which Triton keeps for native backends alone.

A state output of one request of a sequence is the state input of the next. The sequence batcher gives
every request of a sequence to the same model instance, and the initial state with each; the later ones
are kept here. (A Python-based backend cannot call ``TRITONBACKEND_StateUpdate``.)
"""

from __future__ import annotations

from collections import OrderedDict

from server.backends.configuration import Configuration
from server.backends.onnxruntime.batch import Tensors


class States:
    """The last states of the sequences of one model instance.

    Attributes:
        outputs: names of the model's state outputs.
    """

    def __init__(self, configuration: Configuration) -> None:
        """Read the pairs of state inputs and outputs; there may be none."""
        batching = configuration.get("sequence_batching", {})
        self._pairs = [(each["input_name"], each["output_name"]) for each in batching.get("state", [])]
        self.outputs = [output for _, output in self._pairs]
        oldest = batching.get("oldest", {}).get("max_candidate_sequences", 0)
        self._slots = max(int(oldest), configuration["max_batch_size"], 1)
        self._kept: OrderedDict[int | str, Tensors] = OrderedDict()

    def recall(self, sequence: int | str, *, starts: bool, inputs: Tensors) -> None:
        """Put the sequence's last state in the place of the initial one, unless it ``starts`` anew."""
        if not starts:
            inputs.update(self._kept.get(sequence, {}))

    def keep(self, sequence: int | str, *, ends: bool, outputs: Tensors) -> None:
        """Keep the state for the sequence's next request, unless this was its last."""
        self._kept.pop(sequence, None)
        # The batcher pads a batch with requests of no sequence.
        if self._pairs and sequence and not ends:
            self._kept[sequence] = {name: outputs[output].copy() for name, output in self._pairs}
            # Only so many sequences are alive at a time; the others were given up without an end.
            if len(self._kept) > self._slots:
                self._kept.popitem(last=False)
