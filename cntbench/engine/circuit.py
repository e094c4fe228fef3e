"""Faithfulness runs: all edges outside a circuit are patched, for many circuits in one batch.

A circuit is a set of edges between the embedding, the components and the unembedding. In the run of
circuit C, target k of stage t reads

    x_k = X_t + Σ_{s → k not in C} (r_s − c_s(x_s)),

where X_t is the residual stream of that run, c_s(x_s) the contribution of source s in that run, and
r_s its replacement: its contribution on the corrupted prompt, or another one. Edges of the circuit
thus carry what their source computes inside the circuit, and all other edges carry the replacement.
If all edges are kept, nothing is added and the run is the clean run. This is the patched forward
pass of EAP-IG (Hanna et al. 2024, arXiv 2403.17806) and of MIB (Mueller et al. 2025, arXiv
2504.13151).

All circuits pass through the stages together. The differences r_s − c_s of earlier sources are
kept; their product with the circuits' masks is what the targets of a stage read in addition.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cntbench.ablations.ablation import Ablation
from cntbench.ablations.replacements._base import States
from cntbench.engine.arrays import Array, to_array
from cntbench.engine.perturbations import Perturbations, perturb
from cntbench.engine.positions import Positions
from cntbench.engine.readouts import Answers, readout
from cntbench.engine.replacing import Statistics, corpus_tokens, token_tensor
from cntbench.engine.request import Request
from cntbench.errors import CntbenchError
from cntbench.models.blocks import Attention, Block
from cntbench.models.decoder import Decoder
from cntbench.models.experts import Experts
from cntbench.models.products import wide
from cntbench.specs import HEAD_INPUTS

#: Tokens × circuits that pass through the model at once.
ROWS_AT_ONCE = 4096

Masks = NDArray[np.bool_]
"""Whether circuits keep each edge, dims ``circuit, source, target``.

If queries, keys and values of heads have separate edges, dims ``circuit, input, source, target``;
other targets have the edges of the first input. The first source is the embedding, with position
embeddings; the last target is the unembedding; the components are between them in causal order.
"""


def edges_of(model: Decoder) -> NDArray[np.bool_]:
    """Return whether a circuit may have each edge, dims ``source, target`` of `Masks`."""
    stage = np.array([-1, *(node.stage for node in model.components), np.iinfo(int).max])
    return stage[:-1, None] < stage[None, 1:]


@torch.inference_mode()
def circuit_readouts(request: Request, statistics: Statistics, circuits: Masks) -> Array:
    """Return the first requested readout of every circuit, dims ``circuit, prompt``.

    Parameters
    ----------
    request
        The model, the prompts, the readout, and one ablation, whose replacement patches the edges
        outside circuits.
    statistics
        What the replacement takes from all prompts.
    circuits
        The circuits' edges. Values where the model has no edge are ignored.

    Raises
    ------
    CntbenchError
        If an edge from the embedding is to be patched and the replacement has no value for it.
    """
    masks = circuits if circuits.ndim == 4 else circuits[:, None]
    edges = edges_of(request.model)
    if masks.shape[2:] != edges.shape:
        raise CntbenchError(
            f"circuits of {' × '.join(map(str, masks.shape[2:]))} edges do not fit a model of "
            f"{' × '.join(map(str, edges.shape))}",
            hint="The first source is the embedding, the last target the unembedding.",
        )
    outside = edges & ~masks
    distinct, inverse = np.unique(outside, axis=0, return_inverse=True)
    values = np.full((len(distinct), len(request.prompts)), np.nan)
    for rows, group in request.groups():
        group_values = np.empty((len(distinct), len(group.prompts)))
        for columns, part in _pieces(group):
            group_values[:, columns] = _read(part, statistics, distinct)
        values[:, rows] = group_values
    return values[inverse.ravel()]


def _pieces(request: Request) -> Iterator[tuple[slice, Request]]:
    """Split the prompts so that at least one circuit passes through at once."""
    height = max(1, _affordable(request) // request.prompts.tokens.shape[1])
    for start in range(0, len(request.prompts), height):
        rows = slice(start, start + height)
        yield rows, replace(request, prompts=request.prompts.take(rows))


def _affordable(request: Request) -> int:
    """Return the number of tokens × circuits that the memory allows at once."""
    model = request.model
    largest = max(block.n_components + block.workspace // model.hidden for block in model.blocks)
    vectors = 2 * len(model.components) + 6 * len(HEAD_INPUTS) + 3 * largest
    row_bytes = vectors * model.hidden * wide(model.dtype).itemsize
    return max(1, min(ROWS_AT_ONCE, request.memory_budget // row_bytes))


def _read(request: Request, statistics: Statistics, outside: Masks) -> Array:
    """Return the readout of circuits from the edges outside them, dims ``circuit, prompt``."""
    [ablation] = request.ablations
    perturbations = perturb(request, [ablation], statistics)
    needed = bool(outside[:, :, 0].any())
    origin = _embedding_change(request, ablation, perturbations) if needed else None
    at_once = max(1, _affordable(request) // request.prompts.tokens.size)
    parts = [
        Patched(request, perturbations, origin, outside[first : first + at_once]).read()
        for first in range(0, len(outside), at_once)
    ]
    return np.concatenate(parts)


def _embedding_change(request: Request, ablation: Ablation, perturbations: Perturbations) -> Tensor:
    """Return replaced minus clean embeddings, dims ``prompt, position, hidden``."""
    clean, donor, rule = perturbations.streams[0], ablation.donor, ablation.replacement
    if (
        rule.population_corpus is not None
        or rule.fitting_steps
        or (donor and donor.corpus == "other")
    ):
        raise CntbenchError(
            f"ablation {ablation.name!r} has no value for the embedding, and the circuit leaves "
            "out edges from it",
            hint="Patch with resample or zero.",
        )
    donated = None
    if donor is not None:
        tokens = corpus_tokens(request.prompts, *donor)
        donated = request.model.embed(token_tensor(tokens, clean.device))[:, :, None]
    states = States(
        clean=clean[:, :, None],
        donor=donated,
        spread=None,
        noise=lambda: torch.zeros_like(clean)[:, :, None],
        length=request.prompts.length,
    )
    return (rule.replace(states) - states.clean)[:, :, 0]


@dataclass
class Patched:
    """The patched run of circuits on prompts.

    ``origin`` is replaced minus clean embeddings, None if no circuit leaves out an edge from them;
    ``outside`` are the edges outside the circuits, dims ``circuit, input, source, target``.
    """

    request: Request
    perturbations: Perturbations
    origin: Tensor | None
    outside: Masks

    def __post_init__(self) -> None:
        start = self.perturbations.streams[0]
        count, sources = len(self.outside), self.outside.shape[2]
        self.streams = start.expand(count, *start.shape).clone()
        #: r_s − c_s, dims ``circuit, source, prompt, position, hidden``.
        self.gaps = start.new_empty((count, sources, *start.shape))
        self.gaps[:, 0] = 0.0 if self.origin is None else self.origin
        self.mask = torch.from_numpy(self.outside).to(start)

    def read(self) -> Array:
        """Run all stages and return the readout, dims ``circuit, prompt``."""
        model = self.request.model
        for index, (stage, places, nodes_of_stage) in enumerate(model.walk):
            clean = stage.norm(self.perturbations.streams[index][None])
            written = []
            for block, _, nodes in places:
                states = _states(
                    block, [stage.norm(x) for x in self._inputs(block, nodes, nodes_of_stage.start)]
                )
                difference = (states - block.states(clean)).flatten(0, 1)
                moved = block.contributions(difference).unflatten(1, states.shape[:2])
                changes = self.perturbations.changes[0, nodes.start : nodes.stop]
                self.gaps[:, nodes.start + 1 : nodes.stop + 1] = changes - moved.transpose(0, 1)
                written.append((block, states))
            for block, states in written:
                block.write(states, self.streams)
        return self._readout()

    def _inputs(self, block: Block, nodes: range, reaching: int) -> list[Tensor]:
        """Return what components read, dims ``circuit, component, prompt, position, hidden``.

        There is one tensor for each input of a head that has separate edges.
        """
        sources = slice(0, reaching + 1)
        masks = self.mask[:, :, sources, nodes.start : nodes.stop].transpose(-1, -2)
        gaps = self.gaps[:, sources]
        reads = []
        for index in range(masks.shape[1] if isinstance(block, Attention) else 1):
            added = masks[:, index] @ gaps.flatten(2)
            reads.append(self.streams[:, None] + added.unflatten(2, gaps.shape[2:]))
        return reads

    def _readout(self) -> Array:
        request = self.request
        at = Positions.scored(request.prompts, self.streams.device)
        masks = self.mask[:, 0, None, :, -1]
        gaps = at.choose(self.gaps.flatten(0, 1)).unflatten(0, self.gaps.shape[:2])
        added = (masks @ gaps.flatten(2)).view(len(gaps), *gaps.shape[2:])
        ends = at.choose(self.streams) + added
        clean = at.choose(self.perturbations.streams[-1][None])
        answers, name = Answers.of(request.prompts, ends.device), request.effects[0]
        return to_array(readout(request.model, torch.cat([clean, ends]), answers, [name])[name][1:])


def _states(block: Block, inputs: list[Tensor]) -> Tensor:
    """Compute states of components that read separate streams."""
    if isinstance(block, Attention):
        return block.states_apart(*(inputs if len(inputs) > 1 else inputs * len(HEAD_INPUTS)))
    if isinstance(block, Experts):
        return block.states_apart(inputs[0])
    return block.states(inputs[0].squeeze(1))
