"""The nodes of the graph: their names, their causal order and their feasible edges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cntbench.errors import CntbenchError, nearest

Kind = Literal["head", "MLP"]

#: Patterns of kinds of components.
_SHORT = {"heads": "*.H*", "head": "*.H*", "mlps": "*.MLP", "mlp": "*.MLP"}
#: Number of components from which an error does not list them.
_LISTED = 40


@dataclass(frozen=True)
class Component:
    """An attention head or an MLP.

    Parameters
    ----------
    layer
        Index of its block, from 0.
    kind
        ``"head"`` or ``"MLP"``.
    stage
        Its place in the causal order. Components of one stage read the same residual stream, so
        that none reaches another; every stage reaches all later ones.
    head
        Index of the head in its layer; ``None`` for an MLP.
    """

    layer: int
    kind: Kind
    stage: int
    head: int | None = None

    @property
    def name(self) -> str:
        """The component's label, ``L2.H3`` or ``L2.MLP``."""
        return f"L{self.layer}.{'MLP' if self.head is None else f'H{self.head}'}"


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
    found: list[Component] = []
    for layer in range(n_layers):
        stage = layer * per_layer
        found += [Component(layer, "head", stage, head) for head in range(n_heads)]
        found += [Component(layer, "MLP", stage + per_layer - 1)] if mlps else []
    return tuple(found)


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
    """Return the indices of components that names and patterns choose, rising.

    Parameters
    ----------
    patterns
        Names (``L2.H3``), layers (``L2``), kinds (``heads``, ``MLPs``), or names with ``*`` and
        ``?`` (``L*.H0``).
    nodes
        The components.
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
