"""The weights of a planted circuit's model: every signal gets a subspace of the residual stream.

A component reads a parent's signal through the transpose of the basis that the parent writes it in.
In the *exact* model, bases are orthonormal and orthogonal to the vector of ones, and the epsilon of
every LayerNorm is so large that it only subtracts the mean, which is zero. In the *realistic*
model, bases overlap, LayerNorms standardise, and random weights are added everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from cntbench.components import Component
from cntbench.models.planted.blueprint import Blueprint
from cntbench.models.planted.functions import Node
from cntbench.models.planted.layouts import LAYOUTS, ROTATED
from cntbench.models.planted.spec import STILL, Difficulty, Moment
from cntbench.models.planted.wiring import (
    FREQUENCIES,
    TOKENS,
    Array,
    HeadWiring,
    Match,
    MLPWiring,
    Reading,
    Wiring,
    length,
)
from cntbench.parallel.processes import one_thread
from cntbench.prompts import random_state

if TYPE_CHECKING:
    from transformers import PretrainedConfig

#: So large that adding the variance of a stream changes nothing in single precision. Its root is a
#: power of two, so dividing and multiplying by it does not round.
HUGE_EPSILON = 2.0**40
#: Length of the unembedding's vectors: the embedding of a token, at length 1, predicts it surely.
CONFIDENCE = 20.0
#: Number and length of the random prompts on which signals are calibrated.
PROMPTS, LENGTH = 64, 32


@dataclass(frozen=True)
class Assembly:
    """The parts of a circuit, by the names of components.

    ``codes`` are the token embedding, dims ``token, signal``, rows of length 1; ``lengths`` are the
    root mean square lengths of the signals on random prompts.
    """

    codes: Array
    wirings: dict[str, Wiring]
    lengths: dict[str, float]


def assemble(blueprint: Blueprint, seed: int, moment: Moment) -> Assembly:
    """Wire and calibrate all components of a circuit in some state.

    The seed determines everything that the spec does not.
    """
    codes = _codes(blueprint, seed)
    signals: dict[str, Array] = {TOKENS: _random_prompts(blueprint, codes, seed)}
    wirings: dict[str, Wiring] = {}
    for component in blueprint.members:
        name = component.name
        function = blueprint.function(name)
        parents = blueprint.parents(name)
        node = Node(
            name=name,
            index=blueprint.index[name],
            kind=component.kind,
            parents={parent: moment.gains.get((parent, name), 1.0) for parent in parents},
            widths=blueprint.widths,
            signals=signals,
            seed=seed,
            turn=moment.turn,
        )
        wiring = function.make(node)
        signal = wiring.signal(signals)
        if function.calibrated:
            factor = moment.growth / length(signal)
            wiring, signal = wiring.scaled(factor), factor * signal
        wirings[name], signals[name] = wiring, signal
    return Assembly(codes, wirings, {name: length(signal) for name, signal in signals.items()})


@one_thread()
def contributions(blueprint: Blueprint, seed: int) -> dict[tuple[str, str], float]:
    """Return the share of each source in its target's output; see `Circuit.strengths`."""
    assembly = assemble(blueprint, seed, STILL)
    signals: dict[str, Array] = {TOKENS: _random_prompts(blueprint, assembly.codes, seed)}
    shares = {}
    for name, wiring in assembly.wirings.items():
        signals[name] = wiring.signal(signals)
        for parent in blueprint.parents(name) if blueprint.function(name).adds else ():
            without = wiring.signal({**signals, parent: np.zeros_like(signals[parent])})
            shares[parent, name] = length(signals[name] - without) / length(signals[name])
    return shares


def _random_prompts(blueprint: Blueprint, codes: Array, seed: int) -> Array:
    """Return the embeddings of random prompts, dims ``prompt, position, signal``."""
    size = (PROMPTS, min(LENGTH, blueprint.spec.context))
    return codes[random_state(seed, "scale").randint(0, len(codes), size)]


def _codes(blueprint: Blueprint, seed: int) -> Array:
    """Return columns of a Hadamard matrix: signs that are balanced over the vocabulary.

    With all columns, the inner product of any two rows would be −1 / (vocabulary − 1).
    """
    vocabulary, width = blueprint.spec.vocabulary, blueprint.spec.tokens
    token = np.arange(vocabulary)
    hadamard = 1.0 - 2.0 * (np.bitwise_count(token[:, None] & token) % 2)
    rng = random_state(seed, "codes")
    chosen = 1 + rng.permutation(vocabulary - 1)[:width]
    codes: Array = hadamard[rng.permutation(vocabulary)][:, chosen] / width**0.5
    return codes


@one_thread()
def build(
    blueprint: Blueprint, difficulty: Difficulty, seed: int, moment: Moment
) -> tuple[PretrainedConfig, dict[str, Tensor]]:
    """Return a model's config and its tensors in float32, named as on disk.

    The seed determines everything that the spec does not.
    """
    layout = LAYOUTS[blueprint.spec.architecture]
    writer = _TensorWriter(blueprint, assemble(blueprint, seed, moment), difficulty, seed)
    tensors = {
        name: torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
        for name, array in layout.arrays(blueprint.spec, writer.arrays()).items()
    }
    return layout.config(blueprint.spec, writer.units, writer.epsilon), tensors


class _TensorWriter:
    """Writes wirings into arrays with the names of GPT-NeoX."""

    def __init__(
        self, blueprint: Blueprint, assembly: Assembly, difficulty: Difficulty, seed: int
    ) -> None:
        self.blueprint = blueprint
        self.assembly = assembly
        self.exact = difficulty == "exact"
        self.seed = seed
        self.width = blueprint.spec.width
        mlps = (w for w in assembly.wirings.values() if isinstance(w, MLPWiring))
        #: Hidden units of an MLP: enough for the circuit and for distractors.
        self.units = max([4 * blueprint.spec.signal, *(len(mlp.inner.bias) for mlp in mlps)])
        self.bases = self._bases()

    @property
    def epsilon(self) -> float:
        """Epsilon of the norms."""
        return HUGE_EPSILON if self.exact else self.blueprint.realistic.epsilon

    def arrays(self) -> dict[str, Array]:
        """Return all arrays by name."""
        arrays = {"gpt_neox.embed_in.weight": self.assembly.codes @ self.bases[TOKENS].T}
        for layer in range(self.blueprint.spec.layers):
            prefix = f"gpt_neox.layers.{layer}"
            first, *_, last = (c.stage for c in self.blueprint.components if c.layer == layer)
            arrays |= self._norm(f"{prefix}.input_layernorm", first)
            arrays |= self._norm(f"{prefix}.post_attention_layernorm", last)
            arrays |= self._attention(f"{prefix}.attention", layer)
            arrays |= self._mlp(f"{prefix}.mlp", layer)
        end = self.blueprint.components[-1].stage + 1
        arrays |= self._norm("gpt_neox.final_layer_norm", end)
        arrays["embed_out.weight"] = self._unembedding()
        return arrays

    def _rng(self, *stream: str | int) -> np.random.RandomState:
        return random_state(self.seed, *stream)

    def _bases(self) -> dict[str, Array]:
        """Return the basis of each signal, dims ``hidden, signal``."""
        rng = self._rng("bases")
        gaussian = rng.standard_normal((self.width, self.width))
        gaussian[:, 0] = 1.0
        basis = np.linalg.qr(gaussian)[0][:, 1:]
        if not self.exact:
            overlap = self.blueprint.realistic.overlap
            noise = rng.standard_normal(basis.shape)
            noise -= noise.mean(axis=0)
            noise /= np.linalg.norm(noise, axis=0)
            basis = (1 - overlap**2) ** 0.5 * basis + overlap * noise
            basis /= np.linalg.norm(basis, axis=0)
        widths = self.blueprint.widths
        ends = np.cumsum([*widths.values()])
        return {
            name: basis[:, end - n : end]
            for (name, n), end in zip(widths.items(), ends, strict=True)
        }

    def _deviation(self, stage: int) -> float:
        """Return the expected standard deviation of the stream that a stage reads."""
        sources = {c.name for c in self.blueprint.members if c.stage < stage} | {TOKENS}
        lengths = self.assembly.lengths
        return float(np.sqrt(sum(lengths[name] ** 2 for name in sources) / self.width))

    def _norm(self, name: str, stage: int) -> dict[str, Array]:
        scale = HUGE_EPSILON**0.5 if self.exact else self._deviation(stage)
        return {f"{name}.weight": np.full(self.width, scale), f"{name}.bias": np.zeros(self.width)}

    def _rows(self, reading: Reading) -> Array:
        """Return a reading as rows of a map from the stream, dims ``output, hidden``."""
        rows = np.zeros((len(reading.bias), self.width))
        for name, weight in reading.weights.items():
            rows += weight @ self.bases[name].T
        return rows

    def _distraction(self, component: Component, use: str, rows: int) -> Array:
        """Draw random rows that ``"read"`` a component's stream, or columns that ``"write"``."""
        rng = self._rng("distractors", component.layer, component.name, use)
        noise = rng.standard_normal((rows, self.width))
        size = self.blueprint.realistic.distractors / self.width**0.5
        if use == "read":
            size /= self._deviation(component.stage) * self.blueprint.spec.signal**0.5
        return size * noise

    def _attention(self, name: str, layer: int) -> dict[str, Array]:
        heads = [c for c in self.blueprint.components if c.layer == layer and c.kind == "head"]
        width = self.blueprint.head_width
        weight = np.zeros((len(heads), 3, width, self.width))
        bias = np.zeros((len(heads), 3, width))
        dense = np.zeros((len(heads), width, self.width))
        for head, component in enumerate(heads):
            wiring = self.assembly.wirings.get(component.name)
            if not isinstance(wiring, HeadWiring):
                continue
            signal = len(wiring.value.bias)
            weight[head, 2, :signal] = self._rows(wiring.value)
            bias[head, 2, :signal] = wiring.value.bias
            dense[head, :signal] = self.bases[component.name].T
            if wiring.match is not None:
                self._look(wiring.match, weight[head], bias[head])
            if not self.exact:
                distraction = self._distraction(component, "read", 3 * width)
                weight[head] += distraction.reshape(3, width, self.width)
                dense[head] += self._distraction(component, "write", width)
        return {
            f"{name}.query_key_value.weight": weight.reshape(-1, self.width),
            f"{name}.query_key_value.bias": bias.reshape(-1),
            f"{name}.dense.weight": dense.reshape(-1, self.width).T,
            f"{name}.dense.bias": np.zeros(self.width),
        }

    def _look(self, match: Match, weight: Array, bias: Array) -> None:
        """Write a head's match into its weights, dims ``query | key | value, d_head, …``."""
        root = self.blueprint.head_width**0.25  # the model divides scores by √d_head
        if match.sharpness:
            # A pair of coordinates is rotated by position × frequency: the key starts ahead.
            ahead = match.offset * FREQUENCIES
            scale = match.sharpness**0.5 * root
            n = len(FREQUENCIES)
            bias[0, :n] = scale
            bias[1, :ROTATED] = scale * np.concatenate([np.cos(ahead), np.sin(ahead)])
        if match.query is not None and match.key is not None:
            for kind, reading in enumerate((match.query, match.key)):
                rows = slice(ROTATED, ROTATED + len(reading.bias))
                weight[kind, rows] = root * self._rows(reading)
                bias[kind, rows] = root * reading.bias

    def _mlp(self, name: str, layer: int) -> dict[str, Array]:
        inner, outer = np.zeros((self.units, self.width)), np.zeros((self.units, self.width))
        bias, shift = np.zeros(self.units), np.zeros(self.width)
        component = next(
            c for c in self.blueprint.components if c.layer == layer and c.kind == "MLP"
        )
        wiring = self.assembly.wirings.get(component.name)
        if isinstance(wiring, MLPWiring):
            basis = self.bases[component.name]
            units = len(wiring.inner.bias)
            inner[:units] = self._rows(wiring.inner)
            bias[:units] = wiring.inner.bias
            outer[:units] = (basis @ wiring.outer).T
            shift = basis @ wiring.bias
            if not self.exact:
                inner += self._distraction(component, "read", self.units)
                outer += self._distraction(component, "write", self.units)
        up = {}
        if isinstance(wiring, MLPWiring) and wiring.up is not None:
            rows, shifts = np.zeros_like(inner), np.zeros(self.units)
            rows[:units], shifts[:units] = self._rows(wiring.up), wiring.up.bias
            up = {f"{name}.up.weight": rows, f"{name}.up.bias": shifts}
        return {
            **up,
            f"{name}.dense_h_to_4h.weight": inner,
            f"{name}.dense_h_to_4h.bias": bias,
            f"{name}.dense_4h_to_h.weight": outer.T,
            f"{name}.dense_4h_to_h.bias": shift,
        }

    def _unembedding(self) -> Array:
        """Return vectors that read the signals of the readout; tokens are read by their codes."""
        codes = self.assembly.codes
        rows = np.zeros((len(codes), self.width))
        for name in self.blueprint.readout:
            basis = self.bases[name]
            if self.blueprint.function(name).whole:
                vectors = CONFIDENCE * codes
            else:
                vectors = self._rng("readout", name).standard_normal((len(codes), basis.shape[1]))
            rows += vectors @ basis.T
        return rows
