"""Train the known circuits ``trained_*`` by interchange interventions, and write their weights.

    python golden/train_known.py [NAME …]

A small model is trained until its components do what a causal graph says. In each step, every
prompt is subject to one intervention, whose states are taken from another random prompt:

- on a component of the graph: the answer has to be the one that the graph then gives (interchange
  intervention training, Geiger et al. 2022, arXiv 2112.00826);
- on a component outside the graph, or on one edge outside of it: the answer has to stay (the strict
  version of InterpBench, Gupta et al. 2024, arXiv 2407.14494, here for edges as well).

The weights are rounded to half precision. ``measure`` gives the figures that stand in the circuit's
file: the part of right answers, and of right answers under each of the three interventions.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from cntbench.components import Component, components, feasible
from cntbench.models import named_weights
from cntbench.models.adapters import gpt2
from cntbench.models.blocks import Attention
from cntbench.models.decoder import Decoder

ROOT = Path(__file__).parents[1]
#: Number of prompts in a step, their length, and steps. The learning rate falls to 0.
BATCH, LENGTH, STEPS, RATE = 48, 32, 2500, 4e-3
VOCABULARY = 16

#: Values of the graph's variables, dims ``prompt, position``.
Values = Mapping[str, Tensor]


@dataclass(frozen=True)
class Graph:
    """A causal graph over components; each is a variable.

    Parameters
    ----------
    summary
        In one line.
    heads, width
        Sizes of the model; it has two layers.
    edges
        Pairs of components.
    rules
        By component, in causal order: its values from the tokens and the values before it. Those
        of the last component are the answers.
    seed
        Of the weights and the prompts.
    """

    summary: str
    heads: int
    width: int
    edges: tuple[tuple[str, str], ...]
    rules: Mapping[str, Callable[[Tensor, Values], Tensor]]
    seed: int = 0

    @property
    def components(self) -> tuple[Component, ...]:
        """All components of the model."""
        return components(2, self.heads, parallel=False)

    def values(self, tokens: Tensor, fixed: Values | None = None) -> dict[str, Tensor]:
        """Return the values of all variables; some may be fixed."""
        found: dict[str, Tensor] = {}
        for name, rule in self.rules.items():
            found[name] = rule(tokens, found) if name not in (fixed or {}) else fixed[name]
        return found

    def answers(self, tokens: Tensor, fixed: Values | None = None) -> Tensor:
        """Return the answers, dims ``prompt, position``."""
        return self.values(tokens, fixed)[list(self.rules)[-1]]


def before(values: Tensor) -> Tensor:
    """Return the values one position earlier; 0 at the first position."""
    return F.pad(values, (1, 0))[:, :-1]


GRAPHS = {
    "trained_xor": Graph(
        summary="Trained: whether a property of the token and that of the one before it differ.",
        heads=2,
        width=32,
        edges=(("L0.MLP", "L1.H0"), ("L0.MLP", "L1.MLP"), ("L1.H0", "L1.MLP")),
        rules={
            "L0.MLP": lambda tokens, _: (tokens % 4 > 1).long(),
            "L1.H0": lambda _, values: before(values["L0.MLP"]),
            "L1.MLP": lambda _, values: values["L0.MLP"] ^ values["L1.H0"],
        },
    ),
    "trained_sum": Graph(
        summary="Trained: the sum of three tokens modulo 3, by two heads that look one token back.",
        heads=2,
        width=32,
        edges=(("L0.H1", "L0.MLP"), ("L0.MLP", "L1.H0"), ("L1.H0", "L1.MLP")),
        rules={
            "L0.H1": lambda tokens, _: before(tokens % 3),
            "L0.MLP": lambda tokens, values: (tokens + values["L0.H1"]) % 3,
            "L1.H0": lambda _, values: before(values["L0.MLP"]),
            "L1.MLP": lambda tokens, values: (tokens + values["L1.H0"]) % 3,
        },
    ),
}


def config(graph: Graph) -> GPT2Config:
    """Return the config of a graph's model."""
    return GPT2Config(
        architectures=["GPT2LMHeadModel"],
        vocab_size=VOCABULARY,
        n_positions=LENGTH,
        n_embd=graph.width,
        n_layer=2,
        n_head=graph.heads,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
    )


def forward(
    model: Decoder, tokens: Tensor, others: Sequence[Tensor] = (), swap: Tensor | None = None
) -> tuple[Tensor, list[Tensor]]:
    """Run a model, with some edges carrying other states.

    Parameters
    ----------
    others
        What each component writes on other prompts, dims ``prompt, position, hidden``.
    swap
        1 where the edge of a prompt carries that, dims ``source, target, prompt``; the last target
        is the unembedding.

    Returns
    -------
    tuple
        Logits, dims ``prompt, position, token``, and what each component writes.
    """
    stream, written = model.embed(tokens), []
    changes: list[Tensor] = []

    def read(target: int) -> Tensor:
        if swap is None or not changes:
            return stream
        share = swap[: len(changes), target, :, None, None]
        return stream + (share * torch.stack(changes[: len(share)])).sum(dim=0)

    for stage in model.stages:
        (block,) = stage.blocks
        first = len(written)
        if isinstance(block, Attention):
            streams = [read(first + head) for head in range(block.n_components)]
            normed = stage.norm(torch.stack(streams)[None])
            states = block.states_apart(normed, normed, normed)
            stream = stream + block.output_bias
        else:
            states = block.states(stage.norm(read(first)[None]))
        written += block.contributions(states[0])
        stream = stream + sum(written[first:])
        if swap is not None:
            changes += [o - w for o, w in zip(others[first:], written[first:], strict=False)]
    return model.unembed(model.final_norm(read(len(written))[None]))[0], written


def interventions(graph: Graph) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Return edges to swap: of a graph's components, of others, and single edges outside.

    Dims ``source, target``, the last target the unembedding; 1 where the edge is swapped.
    """
    names = [component.name for component in graph.components]
    n = len(names)
    last = names.index(list(graph.rules)[-1])
    inside = {(names.index(s), names.index(t)) for s, t in graph.edges} | {(last, n)}
    possible = torch.ones(n, n + 1)
    possible[:, :n] = torch.from_numpy(feasible(graph.components)).float()

    def only(rows: Sequence[int], columns: slice | int = slice(None)) -> Tensor:
        mask = torch.zeros(n, n + 1)
        mask[rows, columns] = 1.0
        return mask * possible

    nodes = [only([names.index(name)]) for name in graph.rules]
    others = [only([i]) for i, name in enumerate(names) if name not in graph.rules]
    edges = [only([s], t) for s, t in possible.nonzero().tolist() if (s, t) not in inside]
    return nodes, others, edges


def answers_after(graph: Graph, tokens: Tensor, other: Tensor, chosen: Tensor) -> Tensor:
    """Return the answers where one variable of each prompt has its value on another one.

    ``chosen`` is the variable's index for each prompt; where there is none, nothing is changed.
    """
    answers = graph.answers(tokens)
    elsewhere = graph.values(other)
    for index, name in enumerate(graph.rules):
        rows = chosen == index
        answers[rows] = graph.answers(tokens[rows], {name: elsewhere[name][rows]})
    return answers


def train(graph: Graph) -> dict[str, Tensor]:
    """Return the tensors of the trained model, in half precision."""
    torch.manual_seed(graph.seed)
    made = config(graph)
    tensors = {k: v.detach().clone() for k, v in GPT2LMHeadModel(made).state_dict().items()}
    for tensor in tensors.values():
        tensor.requires_grad_()
    optimiser = torch.optim.AdamW(tensors.values(), lr=RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=STEPS)
    nodes, others, edges = interventions(graph)
    table = torch.stack([*nodes, *others, *edges])
    shares = ((2.0, nodes), (1.0, others), (1.0, edges))
    weight = torch.cat([torch.full((len(k),), share / len(k)) for share, k in shares])
    for step in range(STEPS):
        model = gpt2.decoder(made, tensors)
        tokens, other = torch.randint(VOCABULARY, (2, BATCH, LENGTH))
        logits, written = forward(model, torch.cat([tokens, other]))
        chosen = torch.multinomial(weight, BATCH, replacement=True)
        swap = table[chosen].permute(1, 2, 0)
        swapped, _ = forward(model, tokens, [w[BATCH:] for w in written], swap)
        loss = _loss(logits, graph.answers(torch.cat([tokens, other])))
        loss = loss + 2 * _loss(swapped, answers_after(graph, tokens, other, chosen))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(tensors.values(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 250 == 0:
            print(step, round(loss.item(), 4), flush=True)
    return {name: tensor.detach().half() for name, tensor in tensors.items()}


def _loss(logits: Tensor, answers: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1), answers.flatten())


@torch.no_grad()
def measure(graph: Graph, model: Decoder, *, prompts: int, seed: int = 1) -> dict[str, float]:
    """Return how well a model follows its graph on random prompts.

    ``accuracy``: right answers. ``interchange``: right answers where a component of the graph has
    its state on another prompt, and the graph's answer is another one for it; mean over components.
    ``outside`` and ``edges``: right answers where a component or an edge outside the graph has its
    state on another prompt; the least of all.
    """
    torch.manual_seed(seed)
    tokens, other = torch.randint(VOCABULARY, (2, prompts, LENGTH))
    answers = graph.answers(tokens)
    logits, _ = forward(model, tokens)
    _, written = forward(model, other)

    def right(mask: Tensor, expected: Tensor, where: Tensor) -> float:
        swapped, _ = forward(model, tokens, written, mask[..., None].expand(-1, -1, prompts))
        return (swapped.argmax(dim=-1) == expected)[where].float().mean().item()

    nodes, others, edges = interventions(graph)
    everywhere = torch.ones_like(answers, dtype=torch.bool)
    swapped = []
    for index, mask in enumerate(nodes):
        expected = answers_after(graph, tokens, other, torch.full((prompts,), index))
        swapped.append(right(mask, expected, expected != answers))
    return {
        "accuracy": (logits.argmax(dim=-1) == answers).float().mean().item(),
        "interchange": sum(swapped) / len(swapped),
        "outside": min(right(mask, answers, everywhere) for mask in others),
        "edges": min(right(mask, answers, everywhere) for mask in edges),
    }


FILE = """version = 1
summary = "{summary}"
architecture = "gpt2"
layers = 2
heads = {heads}
width = {width}
vocabulary = {vocabulary}
context = {length}
edges = [{edges}]

[trained]  # by golden/train_known.py
folder = "{name}"
revision = "{revision}"
"""


def write(
    name: str, graph: Graph, tensors: Mapping[str, Tensor], place: Path, *, prompts: int = 1024
) -> None:
    """Write a circuit's file, with what is measured on some prompts, and its checkpoint beside."""
    folder = place / name
    folder.mkdir(exist_ok=True)
    config(graph).to_json_file(folder / "config.json")
    save_file(dict(tensors), folder / "model.safetensors", {"format": "pt"})
    model = gpt2.decoder(config(graph), {key: tensor.float() for key, tensor in tensors.items()})
    text = FILE.format(
        name=name,
        summary=graph.summary,
        heads=graph.heads,
        width=graph.width,
        vocabulary=VOCABULARY,
        length=LENGTH,
        edges=", ".join(f'["{source}", "{target}"]' for source, target in graph.edges),
        revision=named_weights.revision(tensors),
    )
    figures = measure(graph, model, prompts=prompts)
    text += "".join(f"{key} = {value:.4f}\n" for key, value in figures.items())
    (place / f"{name}.toml").write_text(text, encoding="utf-8")
    print(name, figures, flush=True)


if __name__ == "__main__":
    for name in sys.argv[1:] or GRAPHS:
        start = time.process_time()
        write(name, GRAPHS[name], train(GRAPHS[name]), ROOT / "tasks" / "planted")
        print(f"{time.process_time() - start:.0f} s of processor time", flush=True)
