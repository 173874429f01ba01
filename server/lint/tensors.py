"""The rule that our models take and give what ``adlens.contract`` says."""

from __future__ import annotations

from itertools import zip_longest

from adlens import contract
from server.lint.configurations import described
from server.lint.rules import Findings, Severity, rule
from server.lint.survey import Survey


@rule(Severity.ERROR)
def contract_tensors(survey: Survey) -> Findings:
    """A model that client/adlens/contract.py names takes and gives the tensors that it says, in its order.

    Clients, exporters and DALI pipelines rely on it.
    """
    for model in survey.models:
        for side, expected in zip(("input", "output"), contract.MODELS.get(model.name, ()), strict=False):
            found = [described(tensor) for tensor in getattr(model.configuration, side)]
            wanted = [f"{name} {each.datatype} {list(each.shape)}" for name, each in expected.items()]
            for theirs, ours in zip_longest(found, wanted, fillvalue="nothing"):
                if theirs != ours:
                    yield model.path, f"{side} {theirs} where contract.py has {ours}; change one"


@rule(Severity.ERROR)
def contract_batch(survey: Survey) -> Findings:
    """A model that client/adlens/contract.py names takes batches of up to its MAX_BATCH.

    Clients send as many pictures in a request. On a GPU those of several clients make larger batches.
    """
    for model in survey.models:
        cap = model.configuration.max_batch_size
        fits = cap >= contract.MAX_BATCH if survey.has_gpu else cap == contract.MAX_BATCH
        if model.name in contract.MODELS and not fits:
            yield model.path, f"max_batch_size {cap}, but MAX_BATCH is {contract.MAX_BATCH}; change one"
