"""Rules on ensembles: do their maps connect, and do their steps go together?

The checks of Triton itself are in ``ValidateEnsembleSchedulingConfig`` (model_config_utils.cc) and
``ValidateEnsembleConfig`` (ensemble_utils.cc) of triton-inference-server/core.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tritonclient.grpc import model_config_pb2

from adlens import contract
from server.lint.configurations import described
from server.lint.rules import Findings, Severity, rule
from server.lint.survey import Step, Survey, Tensor
from server.repository import Model


@rule(Severity.ERROR)
def ensemble_form(survey: Survey) -> Findings:
    """An ensemble has platform "ensemble", steps with maps, and nothing that only a leaf can have.

    Source: ValidateEnsembleSchedulingConfig in model_config_utils.cc of triton-inference-server/core.
    """
    for model in survey.models:
        configuration = model.configuration
        scheduled = configuration.HasField("ensemble_scheduling")
        steps = configuration.ensemble_scheduling.step
        if scheduled and not model.is_ensemble:
            yield (
                model.path,
                f"ensemble_scheduling with platform '{configuration.platform}'; use \"ensemble\"",
            )
        elif model.is_ensemble and not steps:
            yield model.path, "no step in ensemble_scheduling; name the models to run"
        if model.is_ensemble:
            for field in ("instance_group", "optimization", "model_warmup"):
                if field in {each.name for each, _ in configuration.ListFields()}:
                    yield model.path, f"{field} in an ensemble; move it to the models of its steps"
        for step in steps:
            if not (step.model_name and step.input_map and step.output_map):
                yield model.path, f"step '{step.model_name}' lacks model_name, input_map or output_map"


@rule(Severity.ERROR)
def unknown_step(survey: Survey) -> Findings:
    """Each step's model, in the version asked for, must be in one of the repositories.

    Else the ensemble waits for it and never loads (model_repository_manager.cc of
    triton-inference-server/core).
    """
    known = {folder.name for folder in survey.folders}
    for ensemble in survey.ensembles:
        for step in ensemble.configuration.ensemble_scheduling.step:
            if step.model_name and step.model_name not in known:
                yield ensemble.path, f"step '{step.model_name}' is in no repository; give the one that has it"
        for step, model in survey.steps(ensemble):
            versions = [int(folder.name) for folder in model.versions]
            if step.model_version > 0 and versions and step.model_version not in versions:
                yield ensemble.path, f"step '{model.name}' version {step.model_version} of {versions}; use -1"


@rule(Severity.ERROR)
def unknown_tensor(survey: Survey) -> Findings:
    """A map's key is an input or output of the step's model.

    Source: ValidateTensorMapping in ensemble_utils.cc of triton-inference-server/core.
    """
    for ensemble in survey.ensembles:
        for step, model in survey.steps(ensemble):
            for kind, keys, tensors in (
                ("input", step.input_map, model.configuration.input),
                ("output", step.output_map, model.configuration.output),
            ):
                names = [tensor.name for tensor in tensors]
                for key in sorted(set(keys) - set(names)):
                    have = ", ".join(names)
                    yield ensemble.path, f"'{key}' is no {kind} of '{model.name}', which has {have}"


@rule(Severity.ERROR)
def unmapped_input(survey: Survey) -> Findings:
    """Each input of a step's model that is not optional must be mapped.

    Source: ValidateTensorMapping in ensemble_utils.cc of triton-inference-server/core.
    """
    for ensemble in survey.ensembles:
        for step, model in survey.steps(ensemble):
            for tensor in model.configuration.input:
                if tensor.name not in step.input_map and not tensor.optional:
                    yield ensemble.path, f"input '{tensor.name}' of '{model.name}' is not in its input_map"


@rule(Severity.ERROR)
def unmapped_dali_output(survey: Survey) -> Findings:
    """A step that is a dali model must map all of its outputs, as each request must ask for all of them.

    Source: AllocateOutputs in dali_backend/src/dali_model_instance.cc. Every request fails else.
    """
    for ensemble in survey.ensembles:
        for step, model in survey.steps(ensemble):
            for tensor in model.configuration.output:
                if model.backend == "dali" and tensor.name not in step.output_map:
                    yield ensemble.path, f"output '{tensor.name}' of '{model.name}' is not in its output_map"


@rule(Severity.ERROR)
def tensor_produced_twice(survey: Survey) -> Findings:
    """A tensor of an ensemble comes from one place: an input, or one output of one step.

    Source: BuildEnsembleGraph in model_config_utils.cc of triton-inference-server/core.
    """
    for ensemble in survey.ensembles:
        sources = Counter(tensor.name for tensor in ensemble.configuration.input)
        for step in ensemble.configuration.ensemble_scheduling.step:
            sources.update(step.output_map.values())
        for name, count in sources.items():
            if count > 1:
                yield ensemble.path, f"tensor '{name}' has {count} sources; rename all but one"


@rule(Severity.ERROR)
def unproduced_tensor(survey: Survey) -> Findings:
    """What a step takes, or the ensemble gives out, must come from an input or an earlier step.

    Source: the data flow check in ValidateEnsembleSchedulingConfig, model_config_utils.cc of
    triton-inference-server/core ("is not written").
    """
    for ensemble in survey.ensembles:
        steps = list(ensemble.configuration.ensemble_scheduling.step)
        ready = {tensor.name for tensor in ensemble.configuration.input}
        while runnable := [step for step in steps if ready.issuperset(step.input_map.values())]:
            for step in runnable:
                ready.update(step.output_map.values())
                steps.remove(step)
        for step in steps:
            lacking = ", ".join(sorted(set(step.input_map.values()) - ready))
            yield (
                ensemble.path,
                f"step '{step.model_name}' waits for {lacking}, which nothing before it gives",
            )
        waiting = {name for step in steps for name in step.output_map.values()}
        for tensor in ensemble.configuration.output:
            if tensor.name not in ready | waiting:
                yield ensemble.path, f"no step gives the output '{tensor.name}'; map it, or remove it"


@rule(Severity.ERROR)
def unused_tensor(survey: Survey) -> Findings:
    """Each input of an ensemble, and each tensor that a step maps, must be taken by a step or given out.

    Source: ValidateEnsembleSchedulingConfig in model_config_utils.cc of triton-inference-server/core
    ("is unused"): the ensemble does not load.
    """
    for ensemble in survey.ensembles:
        steps = ensemble.configuration.ensemble_scheduling.step
        taken = {name for step in steps for name in step.input_map.values()}
        given_out = {tensor.name for tensor in ensemble.configuration.output}
        for tensor in ensemble.configuration.input:
            if tensor.name not in taken:
                yield ensemble.path, f"no step takes the input '{tensor.name}'; map it, or remove it"
        for step in steps:
            for name in sorted(set(step.output_map.values()) - taken - given_out):
                yield ensemble.path, f"'{name}' of step '{step.model_name}' goes nowhere; use it or unmap it"


class _End(NamedTuple):
    """Where a tensor of an ensemble begins or ends: a tensor of a model."""

    model: Model
    tensor: Tensor

    @property
    def dims(self) -> Sequence[int]:
        """Without the batch; an ensemble's own, as its steps see them."""
        reshaped = self.model.is_ensemble and self.tensor.HasField("reshape")
        return list(self.tensor.reshape.shape if reshaped else self.tensor.dims)

    @property
    def full_dims(self) -> Sequence[int]:
        """With the batch."""
        return [*([-1] if self.model.configuration.max_batch_size > 0 else []), *self.dims]

    def fits(self, other: _End) -> bool:
        """Whether type and shape agree; -1 fits all."""
        return self.tensor.data_type == other.tensor.data_type and (
            _same(self.dims, other.dims) or _same(self.full_dims, other.full_dims)
        )

    def __str__(self) -> str:
        return f"{described(self.tensor)} of '{self.model.name}'"


def _same(dims: Sequence[int], others: Sequence[int]) -> bool:
    return len(dims) == len(others) and all(
        -1 in (size, other) or size == other for size, other in zip(dims, others, strict=True)
    )


def _ends(survey: Survey, ensemble: Model) -> Iterator[tuple[str, _End]]:
    """All ends of the tensors of an ensemble, with the tensors' names in it."""
    for tensor in (*ensemble.configuration.input, *ensemble.configuration.output):
        yield tensor.name, _End(ensemble, tensor)
    for step, model in survey.steps(ensemble):
        for tensors, names in (
            (model.configuration.input, step.input_map),
            (model.configuration.output, step.output_map),
        ):
            yield from ((names[each.name], _End(model, each)) for each in tensors if each.name in names)


@rule(Severity.ERROR)
def tensor_mismatch(survey: Survey) -> Findings:
    """A tensor of an ensemble has one data type and one shape wherever it begins or ends.

    Source: ValidateTensorConsistency in ensemble_utils.cc of triton-inference-server/core. Of dims, -1
    fits all.
    """
    for ensemble in survey.ensembles:
        first: dict[str, _End] = {}
        for name, end in _ends(survey, ensemble):
            if not first.setdefault(name, end).fits(end):
                yield ensemble.path, f"tensor '{name}' is {first[name]}, but {end}; make them one"


@rule(Severity.ERROR)
def batch_caps_differ(survey: Survey) -> Findings:
    """An ensemble's `max_batch_size` may not exceed that of any step.

    Source: ValidateEnsembleConfig in ensemble_utils.cc of triton-inference-server/core. Steps that do
    not batch at all are held to their shapes instead.
    """
    for ensemble in survey.ensembles:
        cap = ensemble.configuration.max_batch_size
        for _, model in survey.steps(ensemble):
            if 0 < model.configuration.max_batch_size < cap:
                theirs = model.configuration.max_batch_size
                yield ensemble.path, f"max_batch_size {cap}, but {theirs} of step '{model.name}'; lower it"


@rule(Severity.WARNING)
def cache_on_step(survey: Survey) -> Findings:
    """The response cache belongs on the ensemble: a hit there spares all steps, and JPEGs hash fast.

    On a step it hashes large tensors between the steps, and the steps before it run all the same.
    24.10's local cache hits for ensembles (seen).
    """
    for ensemble in survey.ensembles:
        for _, model in survey.steps(ensemble):
            if model.configuration.response_cache.enable:
                yield model.path, f"response_cache on a step of '{ensemble.name}'; move it there"


@rule(Severity.WARNING)
def late_queue_limit(survey: Survey) -> Findings:
    """A queue limit or timeout on a later step rejects requests for which the steps before have run.

    Limit the queue of the first step only; that of the gate for GPUs, which does next to nothing, is none.
    """
    for ensemble in survey.ensembles:
        earlier = _earlier_steps(ensemble)
        if _is_chain(earlier):
            names = [step.model_name for step, _ in _all_steps(survey, ensemble)]
            for (_, model), before in zip(_all_steps(survey, ensemble), earlier, strict=True):
                worked = {names[number] for number in before} - {contract.GATE}
                if model and worked and (limit := _queue_limit(model)):
                    yield model.path, f"{limit} on a later step of '{ensemble.name}'; move it to the first"


@rule(Severity.ERROR)
def fan_out_queue_limit(survey: Survey) -> Findings:
    """Where steps of an ensemble run in parallel, a rejection by one can hang the request and the shutdown.

    24.10 does (seen); fixed by triton-inference-server/core #466 and #470, in 26.02, so that profiles for
    GPUs, which need a container that is newer, are free to. A limit or timeout on the one step before all
    others is safe.
    """
    if survey.has_gpu:
        return
    for ensemble in survey.ensembles:
        earlier = _earlier_steps(ensemble)
        only_first = Counter(map(len, earlier))[0] == 1
        if not _is_chain(earlier):
            for (_, model), before in zip(_all_steps(survey, ensemble), earlier, strict=True):
                if model and (before or not only_first) and (limit := _queue_limit(model)):
                    text = f"{limit} beside parallel steps of '{ensemble.name}'; move it to the first step"
                    yield model.path, text


@rule(Severity.WARNING)
def inputs_beside_first_step(survey: Survey) -> Findings:
    """The step that is written first has more outputs than the ensemble has inputs for others alone.

    Where a caller asks for some outputs, 24.10 leaves out the steps that only the others need, takes their
    inputs from the caller for outputs of the first step, and leaves that out, too, when it has counted as
    many as that has: "unexpected deadlock" (seen; ``tensor_to_prev_step_`` in ensemble_scheduler.cc of
    triton-inference-server/core). Any order of the steps will do: write one first that no other needs.
    """
    for ensemble in survey.ensembles:
        first, *others = ensemble.configuration.ensemble_scheduling.step or [None]
        if first is None:
            continue
        outputs = set(first.output_map.values())
        theirs = {name for step in others for name in step.input_map.values()}
        beside = {tensor.name for tensor in ensemble.configuration.input} & theirs
        beside -= set(first.input_map.values())
        if outputs & theirs and len(beside) >= len(outputs):
            yield (
                ensemble.path,
                f"{', '.join(sorted(beside))} go past the first step, '{first.model_name}', whose outputs "
                f"are {len(outputs)}; write a step first that no other needs",
            )


def _all_steps(survey: Survey, ensemble: Model) -> list[tuple[Step, Model | None]]:
    steps = ensemble.configuration.ensemble_scheduling.step
    return [(step, survey.find(step.model_name)) for step in steps]


def _earlier_steps(ensemble: Model) -> list[set[int]]:
    """For each step the numbers of all steps that must have run before it."""
    steps = ensemble.configuration.ensemble_scheduling.step
    earlier = [
        {
            number
            for number, other in enumerate(steps)
            if set(other.output_map.values()) & set(step.input_map.values())
        }
        for step in steps
    ]
    for _ in steps:
        for before in earlier:
            before.update(*(earlier[number] for number in list(before)))
    return earlier


def _is_chain(earlier: list[set[int]]) -> bool:
    """Whether no two steps can run at the same time."""
    return len({len(before) for before in earlier}) == len(earlier)


def _queue_limit(model: Model) -> str | None:
    """What makes a model's queue reject requests."""
    batching = model.configuration.dynamic_batching
    for policy in (batching.default_queue_policy, *batching.priority_queue_policy.values()):
        if policy.max_queue_size:
            return f"max_queue_size {policy.max_queue_size}"
        rejects = policy.timeout_action == model_config_pb2.ModelQueuePolicy.REJECT
        if policy.default_timeout_microseconds and rejects:
            return f"default_timeout_microseconds {policy.default_timeout_microseconds}"
    return None
