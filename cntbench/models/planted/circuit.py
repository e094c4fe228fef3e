"""A planted circuit: its name, its true edges and its models."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from cntbench.components import Component, feasible
from cntbench.errors import SpecError
from cntbench.models.planted.blueprint import Blueprint, draft
from cntbench.models.planted.spec import STILL, CircuitSpec, DiagnosticSpec, Difficulty, Trained
from cntbench.specs import build, read_toml

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PretrainedConfig

    from cntbench.models.adapters._base import Shape
    from cntbench.models.decoder import Decoder

Edges = NDArray[np.bool_]


@dataclass(frozen=True)
class Truth:
    """The true edges of a circuit, dims ``source, target`` over all components of its model.

    Parameters
    ----------
    direct
        The planted edges, except those from components whose output ignores the prompt.
    total
        Pairs in which the source reaches the target: the closure of ``direct`` without the blocked
        pairs.
    readout
        Edges of ``direct`` on a path of such edges to a component that the unembedding reads.
    feasible
        Where the architecture allows an edge; other pairs are neither true nor false.
    """

    direct: Edges
    total: Edges
    readout: Edges
    feasible: Edges


@dataclass(frozen=True)
class Circuit:
    """A planted circuit: its name, its file, and its checked spec."""

    name: str
    path: Path
    blueprint: Blueprint

    @classmethod
    def read(cls, path: Path) -> Circuit:
        """Read a circuit's file, or raise a `SpecError` for its first error."""
        where = str(path)
        spec = build(CircuitSpec, read_toml(path), where=where)
        return cls(path.stem, path, draft(spec, where))

    @property
    def spec(self) -> CircuitSpec:
        """The spec in the file."""
        return self.blueprint.spec

    @property
    def components(self) -> tuple[Component, ...]:
        """All components of the model, in causal order."""
        return self.blueprint.components

    @property
    def diagnostics(self) -> tuple[DiagnosticSpec, ...]:
        """The expected results for single edges of the exact circuit."""
        return self.blueprint.diagnostics

    @property
    def difficulties(self) -> tuple[Difficulty, ...]:
        """The kinds of its models, the default first."""
        return ("exact", "realistic") if self.blueprint.trained is None else ("trained",)

    @cached_property
    def shape(self) -> Shape:
        """The shape of its models."""
        from cntbench.models.adapters import adapter

        config, _ = self.build()
        return adapter(config.model_type).shape(config)

    @property
    def steps(self) -> tuple[int, ...]:
        """Training steps of its checkpoints; only step 0 without dynamics."""
        dynamics = self.blueprint.dynamics
        return (0,) if dynamics is None else dynamics.steps

    def truth(self) -> Truth:
        """Return the true edges; for emerging edges, those at the end of training."""
        direct = [
            (source, target)
            for source, target in self.blueprint.edges
            if self.blueprint.function(source).speaks
        ]
        graph = nx.DiGraph(direct)
        graph.add_nodes_from(self.blueprint.readout)
        closure = nx.transitive_closure(graph)
        total = [edge for edge in closure.edges if edge not in self.spec.blocked]
        read = set(self.blueprint.readout)
        reaching = read.union(*map(closure.predecessors, read))
        readout = [(source, target) for source, target in direct if target in reaching]
        return Truth(
            self._array(direct), self._array(total), self._array(readout), feasible(self.components)
        )

    def strengths(self, seed: int = 0) -> dict[tuple[str, str], float]:
        """Return the strength of each edge into a component whose output is a sum over its parents.

        The strength is the root mean square, over random prompts, of the source's part in the
        target's output, relative to the whole output, in the exact model. The construction
        determines no strength for other edges.
        """
        from cntbench.models.planted.weights import contributions

        return {} if self.blueprint.trained else contributions(self.blueprint, seed)

    def build(
        self, difficulty: Difficulty | None = None, seed: int = 0, step: int | None = None
    ) -> tuple[PretrainedConfig, dict[str, Tensor]]:
        """Return the config and the tensors of the model, named as on disk, in float32.

        Parameters
        ----------
        difficulty
            One of `difficulties`; by default the first.
        seed
            Draws what the spec leaves open; nothing in a trained model.
        step
            Training step; without it, dynamics are ignored.
        """
        from cntbench.models.planted import weights

        if self.blueprint.trained is not None:
            return _read_trained(self.blueprint, self.blueprint.trained, self.path.parent)
        dynamics = self.blueprint.dynamics
        moment = STILL if dynamics is None or step is None else dynamics.at(step)
        return weights.build(self.blueprint, difficulty or "exact", seed, moment)

    def decoder(
        self, difficulty: Difficulty | None = None, seed: int = 0, step: int | None = None
    ) -> Decoder:
        """Return the decoder of the model; parameters are those of `build`."""
        from cntbench.models.adapters import adapter

        config, tensors = self.build(difficulty, seed, step)
        decoder: Decoder = adapter(config.model_type).decoder(config, tensors)
        return decoder

    def _array(self, edges: list[tuple[str, str]]) -> Edges:
        array = np.zeros((len(self.components),) * 2, dtype=bool)
        for source, target in edges:
            array[self.blueprint.index[source], self.blueprint.index[target]] = True
        return array


def _read_trained(
    blueprint: Blueprint, trained: Trained, beside: Path
) -> tuple[PretrainedConfig, dict[str, Tensor]]:
    """Return the config and the tensors of a checkpoint, checked against the circuit's file."""
    from cntbench.models import checkpoint_files, named_weights

    folder = beside / trained.folder
    config: PretrainedConfig = checkpoint_files.read_config(folder)
    where = f"{blueprint.where}: trained"
    shape, spec = checkpoint_files.shape_of(config, folder), blueprint.spec
    stated = {
        "components": (shape.components, blueprint.components),
        "vocabulary": (shape.vocabulary, spec.vocabulary),
        "context": (shape.context, spec.context),
    }
    for key, (actual, expected) in stated.items():
        if actual != expected:
            what = f"the model in {folder} has other {key} than the file"
            raise SpecError(what, where=f"{where}.folder")
    stored = checkpoint_files.read_tensors(folder)
    if (revision := named_weights.revision(stored)) != trained.revision:
        raise SpecError(
            f"the tensors in {folder} do not match the revision in the file",
            where=f"{where}.revision",
            hint=f"Their SHA-256 is {revision}.",
        )
    return config, {name: tensor.float() for name, tensor in stored.items()}
