"""The naive oracle: plain transformers, forward hooks, one full forward per source and prompt.

It knows nothing of the engine: it reads contributions off hooks, replaces them in hooks, and
compares whole contributions in the residual stream's own space.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager

import numpy as np
import torch

from cntbench.ablations.replacements._base import Moments, States
from cntbench.engine.optimal_constants import optimal_constants
from cntbench.plugins import find
from cntbench.prompts import PADDING, Prompts, random_state
from cntbench.readouts import STANDARD, known_readouts
from support.ablations import measures
from support.anatomy import Anatomy, hooked
from support.models import decoder

#: Logits and states by the tokens and what was replaced.
Runs = dict[tuple[object, ...], tuple[torch.Tensor, dict]]


def close(actual, expected, rtol=1e-8, atol=1e-10):
    """Check that numbers are those of the oracle, but for rounding."""
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol)


class Oracle(Anatomy):
    """A model of transformers whose components are hooked one by one.

    A node is a layer and the number of a head, None for the MLP, or with ``experts`` the name of
    an expert, such as ``"E3"``. ``runs`` are forwards of the same model that were made before.
    """

    def __init__(
        self, model: torch.nn.Module, experts: bool = False, runs: Runs | None = None
    ) -> None:
        super().__init__(model)
        self.runs = {} if runs is None else runs
        self.model = model.eval()
        self.experts = [
            layer.mlp.experts.num_experts if experts and hasattr(layer.mlp, "experts") else 0
            for layer in self.layers
        ]
        self.nodes = [
            (layer, head)
            for layer, count in enumerate(self.experts)
            for head in [*range(self.n_heads), *([f"E{e}" for e in range(count)] or [None])]
        ]
        kinds = [{int: f"H{h}", str: h}.get(type(h), "MLP") for _, h in self.nodes]
        self.names = [f"L{at}.{kind}" for (at, _), kind in zip(self.nodes, kinds, strict=True)]

    @contextmanager
    def hooks(self, see: Callable[[int, int | None, torch.Tensor], torch.Tensor | None]):
        """Call ``see(layer, head, state)`` for each component; its result replaces the state."""

        def on_heads(layer):
            def hook(module, args):
                z = args[0].clone()
                for head in range(self.n_heads):
                    part = slice(head * self.width, (head + 1) * self.width)
                    new = see(layer, head, z[0, :, part].clone())
                    if new is not None:
                        z[0, :, part] = new
                return (z,)

            return hook

        def on_norm(layer):
            def hook(module, args, output):
                # What every head adds to the stream, by the divisor that they share.
                epsilon = getattr(module, "variance_epsilon", None) or module.eps
                divisor = (args[0][0].square().mean(-1, keepdim=True) + epsilon).sqrt()
                if getattr(module, "divides_by_constant", False):
                    divisor = divisor.detach()
                output, z = output.clone(), seen[layer]
                for head in range(self.n_heads):
                    state = z[:, head * self.width : (head + 1) * self.width] / divisor
                    new = see(layer, head, state)
                    if new is not None:
                        output[0] += (new - state) @ self.layers[layer].weight[head]
                return output

            return hook

        def keep(layer):
            return lambda module, args: seen.update({layer: args[0][0]})

        def on_mlp(layer):
            def hook(module, args, output):
                # OPT has no dim for prompts here.
                new = see(layer, None, output.flatten(0, -2).clone())
                return output if new is None else new.view_as(output)

            return hook

        def on_experts(layer):
            def hook(module, args, output):
                rows, total = args[0].flatten(0, -2), output[0].clone()
                _, weights, chosen = module.gate(rows)
                alone = [
                    module.experts(rows, chosen, weights * (chosen == expert))
                    for expert in range(self.experts[layer])
                ]
                torch.testing.assert_close(sum(alone), total, rtol=1e-9, atol=1e-9)
                for expert, part in enumerate(alone):
                    new = see(layer, f"E{expert}", part)
                    if new is not None:
                        total = total + new - part
                return total[None]

            return hook

        handles, seen = [], {}
        for index, layer in enumerate(self.layers):
            before = on_heads if layer.after is None else keep
            handles.append(layer.output.register_forward_pre_hook(before(index)))
            if layer.after is not None:
                handles.append(layer.after.register_forward_hook(on_norm(index)))
            on_output = on_experts if self.experts[index] else on_mlp
            handles.append(layer.mlp.register_forward_hook(on_output(index)))
        with hooked(handles):
            yield

    def run(self, tokens, replace=None):
        """One forward of one prompt, alone; returns logits and every component's state."""
        changed = ((node, state.numpy().tobytes()) for node, state in (replace or {}).items())
        key = (tokens.tobytes(), *changed)
        if key not in self.runs:
            self.runs[key] = self._run(tokens, replace)
        return self.runs[key]

    @torch.no_grad()
    def _run(self, tokens, replace):
        return self._hooked(replace, input_ids=torch.from_numpy(tokens[tokens != PADDING])[None])

    def _hooked(self, replace, **inputs):
        states = {}

        def see(layer, head, state):
            states[layer, head] = state
            return None if replace is None else replace.get((layer, head))

        with self.hooks(see):
            logits = self.model(**inputs).logits[0]
        return logits, states

    def corpora(self, prompts: Prompts) -> dict:
        """Runs of the clean prompts, their twins and others, and the positions to align them at."""
        corpora = {
            corpus: [self.run(row) for row in tokens]
            for corpus, tokens in [
                ("clean", prompts.tokens),
                ("reference", prompts.reference),
                ("other", prompts.other),
            ]
            if tokens is not None
        }
        anchors = prompts.anchors
        own, other = (0, 0) if anchors is None else anchors[:, :2].T
        corpora["anchors"] = {"clean": own + np.zeros(len(prompts), int), "other": other}
        return corpora

    def contribution(self, layer, head, state):
        if not isinstance(head, int):
            return state
        return state @ self.layers[layer].weight[head]

    def feasible(self, source, target) -> bool:
        (a, head_a), (b, head_b) = source, target
        if a != b:
            return a < b
        return not self.parallel and isinstance(head_a, int) and not isinstance(head_b, int)

    def loss(self, prompts: Prompts, node, constant: torch.Tensor) -> float:
        """Mean cross-entropy with a component's state set to a constant at every position."""
        results = [
            self.run(row, {node: constant.expand(int((row != PADDING).sum()), -1)})[0]
            for row in prompts.tokens
        ]
        index = known_readouts().index("cross_entropy")
        return float(
            np.mean([readouts(logits, prompts, i)[index] for i, logits in enumerate(results)])
        )

    def optimal_constants(self, prompts: Prompts, steps: int, clean) -> dict:
        """The engine's constants of each half of the prompts.

        On the other half they may not hurt more than its mean or, if it varies, zero.
        """
        engine = decoder(self.model)
        engine = engine.by_experts() if any(self.experts) else engine
        fitted = optimal_constants(engine, prompts, steps=steps)
        rows = (row for block in fitted.blocks for row in block.swapaxes(0, 1))
        constants = dict(zip(self.nodes, rows, strict=True))
        for node, halves in constants.items():
            for half, constant in enumerate(halves):
                others = range(1 - half, len(prompts), 2)
                known = prompts.take(np.array(others))
                population = torch.cat([clean[i][1][node] for i in others])
                loss = self.loss(known, node, constant)
                assert loss <= self.loss(known, node, population.mean(dim=0)) + 1e-9
                if (population.std(dim=0, correction=0) > 1e-3 * population.abs().mean()).any():
                    assert loss <= self.loss(known, node, torch.zeros_like(constant)) + 1e-9
        return constants

    def replacement(self, rule, i, corpora, node, clean, seed, name):
        """The replaced state of a component on prompt ``i``.

        By the rule's plain definition, if it stands here. Any other rule is applied itself, to the
        states of this one component on this one prompt as the hooks saw them.
        """

        def draw():
            layer, head = node
            of_heads = isinstance(head, int)
            components = self.n_heads if of_heads else self.experts[layer] or 1
            rng = random_state(seed, name, 2 * layer + (not of_heads), i)
            drawn = rng.standard_normal((len(clean), components, clean.shape[-1]))
            number = int(head[1:]) if isinstance(head, str) else head or 0
            return torch.from_numpy(drawn[:, number]).to(clean)

        population = None
        if rule.population_corpus:
            population = [states[node] for _, states in corpora[rule.population_corpus]]
        anchors = corpora["anchors"]["clean"]
        donor = corpora[rule.donor_corpus][i][1][node] if rule.donor_corpus else None
        constant = corpora["constants"][node][i % 2] if rule.fitting_steps else None
        match type(rule).__module__.rpartition(".")[2]:
            case "zero":
                return torch.zeros_like(clean)
            case "resample":
                other = corpora["anchors"][rule.donor] if rule.donor == "other" else anchors
                later = (other - anchors + np.zeros_like(anchors))[i]
                return torch.stack(
                    [
                        donor[p + later] if 0 <= p + later < len(donor) else clean[p]
                        for p in range(len(clean))
                    ]
                )
            case "optimal_constant":
                return constant.expand_as(clean)
            case "mean":
                if "position" not in rule.over:
                    own = None if rule.population == "reference" else clean
                    return torch.stack(
                        [
                            mean_at(
                                p - anchors[i], population, anchors, None if own is None else own[p]
                            )
                            for p in range(len(clean))
                        ]
                    )
                average = torch.cat(population).mean(dim=0)
                if rule.population == "clean":
                    others = 1 - len(clean) / sum(map(len, population))
                    average = farther(average, clean.mean(dim=0), others)
                return average.expand_as(clean)
            case "noise":
                deviation = torch.cat(population).std(dim=0, correction=0)
                return clean + rule.scale * deviation * draw()
        if population is not None:
            population = torch.stack(population)
        replaced = rule.replace(alone(clean, donor, population, draw, constant))
        return replaced.expand(1, len(clean), 1, -1)[0, :, 0]


def mean_at(later, population, anchors, own=None):
    """Mean state at a distance from the anchors, over the prompts that are long enough.

    ``own`` is the state there of a prompt that is one of them.
    """
    pairs = zip(population, anchors, strict=True)
    there = [state[a + later] for state, a in pairs if 0 <= a + later < len(state)]
    average = torch.stack(there).mean(dim=0)
    if own is None:
        return average
    return farther(average, own, 1 - 1 / len(there)) if len(there) > 1 else own


def farther(average, own, others):
    """Go from a prompt's own mean to that of all, and on as far as the share of others asks."""
    return own + (average - own) / others**0.5


def alone(clean, donor, population, draw, constant) -> States:
    """What a rule is given, of one component on one prompt: dims of size 1 for both."""
    spread = None
    if population is not None:
        exact = population.double()
        moments = (states.mean(dim=0)[:, None] for states in (exact, exact.square()))
        spread = Moments(*moments, len(population))
    return States(
        clean[None, :, None],
        None if donor is None else donor[None, :, None],
        spread,
        lambda: draw()[None, :, None],
        len(clean),
        None if constant is None else constant[None, None, None],
    )


def change(measure: str, clean: torch.Tensor, ablated: torch.Tensor) -> float:
    """Mean over positions of the change of one contribution.

    By the measure's plain definition, if it stands here; any other measure is applied itself.
    """
    if measure in ("relative_l2", "cosine"):
        return np.mean([one_change(measure, *pair) for pair in zip(clean, ablated, strict=True)])
    run = (clean[None, :, None], ablated[None, None, :, None])  # one run, prompt and component
    return measures()[measure].measure(*run).item()


def one_change(measure: str, clean: torch.Tensor, ablated: torch.Tensor) -> float:
    """Change of one vector; one that is zero may only change from or to zero, by 1."""
    if not clean.any() or (measure == "cosine" and not ablated.any()):
        return float(not torch.equal(clean, ablated))
    if measure == "relative_l2":
        return ((ablated - clean).norm() / clean.norm()).item()
    return 1 - torch.nn.functional.cosine_similarity(clean, ablated, dim=-1).item()


def scored(prompts: Prompts, i: int) -> np.ndarray:
    """The scored positions of one prompt."""
    return prompts.scored[i][prompts.scored[i] != PADDING]


def readouts(
    logits: torch.Tensor, prompts: Prompts, i: int, clean: torch.Tensor | None = None
) -> list[float]:
    """Readouts of one prompt, in order; without ``clean``, of the clean run."""
    at = scored(prompts, i)
    rows, before = logits[at], (logits if clean is None else clean)[at]
    targets = torch.from_numpy(prompts.targets[i][: len(at)])
    decoys = torch.from_numpy(prompts.decoys[i][: len(at)])
    of_target = rows.gather(1, targets[:, None])[:, 0]
    of_decoy = rows.gather(1, decoys[:, None])[:, 0]
    results = {
        "cross_entropy": torch.nn.functional.cross_entropy(rows, targets).item(),
        "accuracy": (rows.argmax(-1) == targets).double().mean().item(),
        "logit_difference": (of_target - of_decoy).mean().item(),
    }
    for name in known_readouts()[len(STANDARD) :]:
        file = find("readout", name)
        others = [before] if "divergence" in file.READS else []
        positions = zip(rows, targets.tolist(), decoys.tolist(), *others, strict=True)
        results[name] = np.mean([file.reference(*position) for position in positions])
    return [results[name] for name in known_readouts()]


def oracle_readouts(model, prompts, runs=None):
    """Readouts of the clean model, means over prompts."""
    oracle = Oracle(model, runs=runs)
    each = [readouts(oracle.run(row)[0], prompts, i) for i, row in enumerate(prompts.tokens)]
    return np.mean(each, axis=0)


def oracle_influence(
    model, prompts, rule, measure, *, name="x", observe_all=False, seed=0, experts=False, runs=None
):
    """Everything the engine gives for one ablation, as means over prompts.

    Returns influence [source, target], readout values [readout], effects [readout, source].
    """
    oracle = Oracle(model, experts, runs)
    nodes, count = oracle.nodes, len(prompts)
    corpora = oracle.corpora(prompts)
    if rule.fitting_steps:
        fitted = oracle.optimal_constants(prompts, rule.fitting_steps, corpora["clean"])
        corpora["constants"] = fitted
    influence = np.full((len(nodes), len(nodes), count), np.nan)
    values = np.zeros((len(known_readouts()), count))
    effects = np.zeros((len(known_readouts()), len(nodes), count))
    for i in range(count):
        clean_logits, clean = corpora["clean"][i]
        values[:, i] = readouts(clean_logits, prompts, i)
        at = slice(None) if observe_all else scored(prompts, i)
        for s, source in enumerate(nodes):
            new = oracle.replacement(rule, i, corpora, source, clean[source], seed, name)
            logits, ablated = oracle.run(prompts.tokens[i], {source: new})
            effects[:, s, i] = np.array(readouts(logits, prompts, i, clean_logits)) - values[:, i]
            for t, target in enumerate(nodes):
                if oracle.feasible(source, target):
                    influence[s, t, i] = change(
                        measure,
                        oracle.contribution(*target, clean[target])[at],
                        oracle.contribution(*target, ablated[target])[at],
                    )
    return influence.mean(-1), values.mean(-1), effects.mean(-1)
