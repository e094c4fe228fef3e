"""The nodes of the graph: their names, their causal order and their feasible edges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cntbench.errors import CntbenchError, nearest

Kind = Literal["head", "MLP", "expert"]

#: Patterns of kinds of components.
_SHORT = {
    "heads": "*.H*",
    "head": "*.H*",
    "mlps": "*.MLP",
    "mlp": "*.MLP",
    "experts": "*.E*",
    "expert": "*.E*",
}
#: Errors list components only if there are fewer than this.
_LISTED = 40


@dataclass(frozen=True)
class Component:
    """An attention head, an MLP, or an expert of a mixture of experts.

    Parameters
    ----------
    layer
        Index of its block, from 0.
    kind
        ``"head"``, ``"MLP"`` or ``"expert"``.
    stage
        Its place in the causal order. Components of one stage read the same residual stream, so
        that none reaches another; every stage reaches all later ones.
    head
        Index of the head in its layer; ``None`` for other kinds.
    expert
        Index of the expert in its layer; ``None`` for other kinds.
    """

    layer: int
    kind: Kind
    stage: int
    head: int | None = None
    expert: int | None = None

    @property
    def name(self) -> str:
        """The component's label: ``L2.H3``, ``L2.MLP`` or ``L2.E3``."""
        return component_name(self.layer, self.head, self.expert)


def component_name(layer: int, head: int | None, expert: int | None = None) -> str:
    """Return the label of a component; an MLP has neither the index of a head nor of an expert."""
    if head is not None:
        return f"L{layer}.H{head}"
    return f"L{layer}.MLP" if expert is None else f"L{layer}.E{expert}"


def kind_of(name: str) -> Kind:
    """Return the kind of the component that has a name.

    >>> kind_of("L2.H3"), kind_of("L2.MLP"), kind_of("L2.E3")
    ('head', 'MLP', 'expert')
    """
    kinds: dict[str, Kind] = {"H": "head", "E": "expert"}
    return kinds.get(name.partition(".")[2][:1], "MLP")


def components(
    n_layers: int, n_heads: int, *, parallel: bool, mlps: bool = True
) -> tuple[Component, ...]:
    """List the components of a decoder in causal order.

    Parameters
    ----------
    n_layers, n_heads
        Number of blocks, and of attention heads in each.
    parallel
        Whether attention and MLP of a block read the same residual stream (GPT-NeoX), or the MLP
        also reads the heads' output (GPT-2, Llama).
    mlps
        Whether layers have an MLP; attention-only models have none.

    Examples
    --------
    >>> [c.name for c in components(1, 2, parallel=True)]
    ['L0.H0', 'L0.H1', 'L0.MLP']
    """
    per_layer = 1 if parallel or not mlps else 2
    nodes: list[Component] = []
    for layer in range(n_layers):
        stage = layer * per_layer
        nodes += [Component(layer, "head", stage, head) for head in range(n_heads)]
        nodes += [Component(layer, "MLP", stage + per_layer - 1)] if mlps else []
    return tuple(nodes)


def by_experts(nodes: Sequence[Component], experts: Sequence[int]) -> tuple[Component, ...]:
    """Return the components, with each mixture replaced by its experts.

    Experts of a layer read the stream that their mixture reads, so that none reaches another.

    Parameters
    ----------
    nodes
        The components, with each mixture of experts as one MLP.
    experts
        Number of experts of each layer; 0 for a layer with a plain MLP.

    Examples
    --------
    >>> nodes = components(2, 1, parallel=False)
    >>> [node.name for node in by_experts(nodes, (0, 2))]
    ['L0.H0', 'L0.MLP', 'L1.H0', 'L1.E0', 'L1.E1']
    """
    expanded: list[Component] = []
    for node in nodes:
        count = experts[node.layer] if node.kind == "MLP" and experts else 0
        parts = [replace(node, kind="expert", expert=number) for number in range(count)]
        expanded += parts or [node]
    return tuple(expanded)


def feasible(nodes: tuple[Component, ...]) -> NDArray[np.bool_]:
    """Return which edges the architecture allows, as a boolean array [source, target].

    Examples
    --------
    >>> feasible(components(2, 1, parallel=True)).astype(int)
    array([[0, 0, 1, 1],
           [0, 0, 1, 1],
           [0, 0, 0, 0],
           [0, 0, 0, 0]])
    """
    stage = np.array([node.stage for node in nodes])
    return stage[:, None] < stage[None, :]


def named(patterns: Sequence[str], nodes: Sequence[Component], *, where: str) -> list[int]:
    """Return the ascending indices of the components that names and patterns choose.

    Parameters
    ----------
    patterns
        Names (``L2.H3``), layers (``L2``), kinds (``heads``, ``MLPs``, ``experts``), or names with
        ``*`` and ``?`` (``L*.H0``).
    where
        Origin of the choice, for errors.

    Raises
    ------
    CntbenchError
        If a pattern chooses nothing.

    Examples
    --------
    >>> named(["L0", "*.MLP"], components(2, 2, parallel=True), where="here")
    [0, 1, 2, 5]
    """
    chosen: set[int] = set()
    for pattern in patterns:
        name = _SHORT.get(pattern.lower(), pattern)
        indices = {
            index
            for index, node in enumerate(nodes)
            if fnmatchcase(node.name, name) or name == f"L{node.layer}"
        }
        if not indices:
            raise CntbenchError(
                f"no component is named {pattern!r}",
                where=where,
                hint=nearest(pattern, [*(node.name for node in nodes), *_SHORT])
                if len(nodes) < _LISTED
                else f"Components are {nodes[0].name} to {nodes[-1].name}; write a name, a layer "
                "(L2), heads, MLPs, or a pattern (L*.H0).",
            )
        chosen |= indices
    return sorted(chosen)
