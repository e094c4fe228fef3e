"""A study, resolved: everything that a run needs, checked before anything is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cntbench.ablations.ablation import check_twins
from cntbench.components import feasible, named
from cntbench.dynamics.claim import Claim
from cntbench.errors import CntbenchError, SpecError, in_file
from cntbench.files.attributes import __version__
from cntbench.metrics._graphs import check_names
from cntbench.models.checkpoint_choice import choose, chosen_by
from cntbench.models.trajectory import (
    ModelRef,
    Trajectory,
    Untrained,
    open_trajectory,
    outline_trajectory,
)
from cntbench.parallel import Progress
from cntbench.plugins import own_sources, usable
from cntbench.plugins.folders import PluginFolder, folders_in_use, using_exactly
from cntbench.prompts import Prompts
from cntbench.readouts import measured
from cntbench.results.film import Axes
from cntbench.results.schema import SCHEMA_VERSION
from cntbench.runs.catalogue import AblationEntry, Catalogue, KnownCircuit, StudyEntry
from cntbench.runs.prompt_warnings import warn_of_prompts
from cntbench.runs.tasks import Task, misfit
from cntbench.runs.untrained import default_count, note_few
from cntbench.specs import as_dict, content_hash


@dataclass(frozen=True)
class Plan:
    """A study with everything that it names.

    Parameters
    ----------
    study, trajectory, tasks, ablations
        What is measured.
    claims
        Claims to test on the result.
    circuits
        Planted circuits, whose known edges the ablations should recover.
    plugins
        Folders of plug-ins outside the package.
    """

    study: StudyEntry
    trajectory: Trajectory
    tasks: tuple[Task, ...]
    ablations: tuple[AblationEntry, ...]
    claims: tuple[Claim, ...] = ()
    circuits: tuple[KnownCircuit, ...] = ()
    plugins: tuple[PluginFolder, ...] = field(default_factory=folders_in_use)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What the numbers depend on, as plain data: runs of equal identity may be joined.

        Untrained models, draws from null models, claims and circuits are not part of it: they add
        to a result without changing its numbers.
        """
        spec, tokenizer = self.study.spec, self.trajectory.tokenizer
        # Folders from before these keys existed do not name them.
        defaults = {"dtype": "float32", "blocks": 1}
        values = {key: getattr(spec, key) for key in defaults}
        nodes = self.trajectory.shape.components
        chosen = {"ablated": self.some_sources, "watched": self.some_targets}
        return {
            **{key: value for key, value in values.items() if value != defaults[key]},
            **{key: [nodes[i].name for i in indices] for key, indices in chosen.items() if indices},
            **({"experts": True} if spec.experts else {}),
            **({"keep": sorted(spec.keep)} if spec.keep else {}),
            **({"until_se": spec.until_se} if spec.until_se else {}),
            "trajectory": self.trajectory.identity,
            "tokenizer": tokenizer.identity if tokenizer else "",
            "checkpoints": {c.name: c.identity for c in self.trajectory.checkpoints},
            "tasks": {task.name: task.identity for task in self.tasks},
            "ablations": {entry.name: entry.identity for entry in self.ablations},
            "prompts": spec.prompts,
            "seed": spec.seed,
            "cntbench": __version__,
            "schema_version": SCHEMA_VERSION,
            **({"plugins": self.sources} if self.sources else {}),
        }

    @cached_property
    def sources(self) -> dict[str, str]:
        """SHA-256 of the users' files that the measured numbers depend on, by file."""
        with using_exactly(self.plugins):
            return own_sources(
                {
                    "generator": [task.spec.generator for task in self.tasks],
                    "readout": self.axes.readouts,
                    "replacement": [entry.spec.replacement for entry in self.ablations],
                    "measure": [e.spec.measure for e in self.ablations if e.spec.measure],
                    "estimator": [entry.spec.estimator for entry in self.ablations],
                }
            )

    @property
    def axes(self) -> Axes:
        """What is measured at every checkpoint."""
        with using_exactly(self.plugins):
            readouts = measured(effect for task in self.tasks for effect in task.spec.effects)
        keep = self.study.spec.keep
        observed = [
            prompts.tokens.shape[1] if task.spec.observed == "all" else prompts.scored.shape[1]
            for task, prompts in zip(self.tasks, self.prompts if keep else (), strict=bool(keep))
        ]
        return Axes(
            self.trajectory.shape.components,
            [task.name for task in self.tasks],
            [entry.name for entry in self.ablations],
            readouts,
            prompts=max(map(len, self.prompts)) if "prompts" in keep else 0,
            positions=max(observed) if "positions" in keep else 0,
            counts=bool(self.study.spec.until_se) or len({*map(len, self.prompts)}) > 1,
        )

    @property
    def hash(self) -> str:
        """SHA-256 of the identity."""
        return content_hash(self.identity)

    @property
    def blocks(self) -> int:
        """Number of blocks of sources per model."""
        return min(self.study.spec.blocks, len(self.ablated))

    @cached_property
    def some_sources(self) -> tuple[int, ...] | None:
        """Which components are ablated, as indices; None for all."""
        return self._chosen("components", self.study.spec.components)

    @cached_property
    def some_targets(self) -> tuple[int, ...] | None:
        """Which components are watched, as indices; None for all."""
        return self._chosen("targets", self.study.spec.targets)

    @property
    def measures_all(self) -> bool:
        """Whether all components are ablated and watched."""
        return self.some_sources is None and self.some_targets is None

    @property
    def ablated(self) -> Sequence[int]:
        """The components that are ablated, as indices."""
        nodes = self.trajectory.shape.components
        return range(len(nodes)) if self.some_sources is None else self.some_sources

    @property
    def edges(self) -> NDArray[np.bool_]:
        """Which edges are measured, dims ``source, target``."""
        edges = feasible(self.trajectory.shape.components)
        for axis, chosen in ((0, self.some_sources), (1, self.some_targets)):
            if chosen is not None:
                edges &= np.expand_dims(np.isin(np.arange(len(edges)), chosen), 1 - axis)
        return edges

    def _chosen(self, key: str, names: Sequence[str]) -> tuple[int, ...] | None:
        """Return the components that names and the study's layers choose; None for all.

        Raises a `CntbenchError` if a name or a layer chooses nothing, or both together.
        """
        nodes, spec = self.trajectory.shape.components, self.study.spec
        if not (names or spec.layers):
            return None
        chosen = named(names, nodes, where=origin(self.study, key)) if names else range(len(nodes))
        if spec.layers:
            numbers = sorted({node.layer for node in nodes})
            labels = [f"L{number}" for number in numbers]
            with in_file(origin(self.study, "layers")):
                layers = {numbers[i] for i in choose(spec.layers, labels, numbers, noun="layer")}
            chosen = [index for index in chosen if nodes[index].layer in layers]
        if not chosen:
            raise CntbenchError(
                f"none of the {key} lies in the layers {spec.layers}", where=origin(self.study, key)
            )
        return None if len(chosen) == len(nodes) else tuple(chosen)

    def check_edges(self) -> None:
        """Raise an error if no edge leads from what is ablated to what is watched."""
        if not self.edges.any():
            keys = (k for k in ("targets", "components", "layers") if getattr(self.study.spec, k))
            raise CntbenchError(
                "no edge leads from the components that are ablated to those that are watched",
                where=origin(self.study, next(keys, "trajectory")),
                hint="Edges lead from earlier layers to later ones.",
            )

    @property
    def untrained(self) -> tuple[Untrained, ...]:
        """Untrained models that are measured as well."""
        return self.trajectory.untrained(self.untrained_count)

    @cached_property
    def untrained_count(self) -> int:
        """Number of untrained models that are requested, or measured by default."""
        count = self.study.spec.untrained
        if count is not None:
            return count
        cells = len(self.ablated) * len(self.ablations)
        return default_count(self.trajectory, self.prompts, cells)

    @property
    def study_spec(self) -> dict[str, Any]:
        """The study's spec as plain data, with the number of untrained models."""
        return as_dict(self.study.spec) | {"untrained": self.untrained_count}

    @property
    def subjects(self) -> tuple[ModelRef, ...]:
        """All models that are measured: checkpoints by ascending step, then untrained ones."""
        return (*self.trajectory.checkpoints, *self.untrained)

    def finished(self) -> Plan:
        """Return the plan when its model has been trained."""
        if self.trajectory.finish is None:
            return self
        plan = replace(self, trajectory=self.trajectory.finished())
        vars(plan)["prompts"] = self.prompts  # which do not depend on the weights
        return plan

    def at(self, identities: Mapping[str, str]) -> Plan:
        """Return the plan with the recorded identities of checkpoints, by name."""
        return replace(self, trajectory=self.trajectory.at(identities))

    @cached_property
    def prompts(self) -> tuple[Prompts, ...]:
        """The prompts of every task.

        Raises a `CntbenchError` if the model's vocabulary or context is too small for a task, the
        model lacks the tokenizer that a task needs, or an ablation does not fit a task's prompts.
        """
        spec, language = self.study.spec, self.trajectory.language
        all_prompts = []
        for task in self.tasks:
            try:
                prompts = task.prompts(language, count=spec.prompts, seed=spec.seed)
            except CntbenchError as error:
                if error.where:  # the row of a file
                    raise
                raise CntbenchError(
                    f"task {task.name!r}: {error.what}", where=str(task.path), hint=error.hint
                ) from None
            length, context = prompts.tokens.shape[1], self.trajectory.shape.context
            if length > context:
                raise CntbenchError(
                    f"task {task.name!r} has prompts of {length} tokens, and the context of "
                    f"{self.trajectory.identity} is {context}",
                    where=str(task.path),
                    hint="Shorten the task's prompts, or use a model with a longer context.",
                )
            problem = misfit(prompts, self.trajectory.shape.vocabulary)
            if problem:
                raise CntbenchError(
                    f"task {task.name!r} has {problem}",
                    where=str(task.path),
                    hint="The generator has to draw from the language that it is given.",
                )
            self._check_methods(task, prompts)
            check_twins([entry.method for entry in self.ablations], prompts)
            all_prompts.append(prompts)
        return tuple(all_prompts)

    def _check_methods(self, task: Task, prompts: Prompts) -> None:
        for entry in self.ablations:
            self.trajectory.shape.check(entry.name, entry.method.estimator, where=str(entry.path))
            corpora = entry.method.corpora
            if "reference" in corpora and prompts.reference is None:
                raise SpecError(
                    f"ablation {entry.name!r} needs reference prompts, and task {task.name!r} has "
                    "none",
                    where=str(entry.path),
                    hint="Leave one of the two out, or add a column 'corrupted' to your prompts.",
                )
            fewest = entry.method.fewest_prompts
            if len(prompts) < fewest:
                raise SpecError(
                    f"ablation {entry.name!r} takes outputs from other prompts, and there is one"
                    if len(prompts) == 1
                    else f"ablation {entry.name!r} draws {entry.method.draws} times from other "
                    f"prompts, and there are {len(prompts) - 1}",
                    where=str(entry.path),
                    hint=f"Ask for at least {fewest} prompts.",
                )
            problem = entry.method.unreadable(task.spec.effects)
            if problem:
                raise SpecError(
                    f"ablation {entry.name!r} {problem} by task {task.name!r}"
                    if not task.spec.effects
                    else f"ablation {entry.name!r} {problem}: the first of the effects of task "
                    f"{task.name!r}",
                    where=str(entry.path),
                    hint="Leave one of the two out of the study, or name another readout first in "
                    "the task's effects.",
                )


def origin(study: StudyEntry, key: str) -> str:
    """Return where a key of a study comes from, for errors."""
    file = study.path if study.path.name else study.name
    return f"{study.origin if key in study.changes else file}: {key}"


def make_plan(
    catalogue: Catalogue,
    study: StudyEntry,
    progress: Progress,
    *,
    outline: bool = False,
    early: bool = False,
    suited: bool = False,
) -> Plan:
    """Resolve a study and check that it can be run.

    Raises a `CntbenchError` if the trajectory cannot be opened, or does not fit a task.

    Parameters
    ----------
    outline
        Whether the plan is only inspected, so that no weights are downloaded.
    early
        Whether the model may still be being trained; see `Plan.finished`.
    suited
        Whether ablations whose estimator refuses the model's architecture are left out.
    """
    tasks = tuple(catalogue.task(name) for name in study.spec.tasks)
    needs_text = any(task.needs_text for task in tasks)
    opened = (
        partial(outline_trajectory, tokenizer=needs_text)
        if outline
        else partial(open_trajectory, early=early)
    )
    text, checkpoints = study.spec.trajectory, study.spec.checkpoints
    with chosen_by(origin(study, "checkpoints")), in_file(origin(study, "trajectory")):
        trajectory = opened(text, progress, catalogue.folders, checkpoints=checkpoints)
    if study.spec.experts:
        trajectory = trajectory.by_experts(where=origin(study, "experts"))
    if suited:
        study = catalogue.suited(study, trajectory.shape.refused)
    plan = Plan(
        study=study,
        trajectory=trajectory,
        tasks=tasks,
        ablations=tuple(catalogue.ablations[name] for name in study.spec.ablations),
        claims=catalogue.some_claims(),
        circuits=catalogue.known_circuits() if study.spec.planted else (),
    )
    _ = plan.prompts  # checks them
    plan.check_edges()
    if study.spec.until_se and study.spec.blocks > 1:
        what = "the blocks of a checkpoint would measure different numbers of prompts"
        where = origin(study, "until_se")
        raise CntbenchError(what, where=where, hint="Use either blocks or until_se.")
    if study.spec.untrained is None and plan.untrained:
        note_few(plan.untrained_count)
    warn_of_prompts(plan.study, plan.tasks, plan.prompts, trajectory)
    check_names(usable("metric"))  # warns of broken ones, which the result will lack
    return plan
