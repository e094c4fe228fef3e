"""What has become of imported graphs, in words."""

from __future__ import annotations

from collections.abc import Mapping

from cntbench.exchange.eap_graph import EapGraph


def imported(graphs: Mapping[int, EapGraph]) -> str:
    """Return what was read, what was made of it, and what has no place in a result.

    Parameters
    ----------
    graphs
        By their training steps.
    """
    lines = [
        f"step {step}: {graph.path.name}, {len(graph.edges)} edges, {graph.in_circuit} of them in "
        "the circuit"
        + (f"; {graph.unnamed} more of the architecture not named: 0" if graph.unnamed else "")
        for step, graph in graphs.items()
    ]
    first = next(iter(graphs.values()))
    left_out = sum(graph.from_input for graph in graphs.values())
    return "\n".join(
        [
            *lines,
            f"{first.shape}; scores into q, k and v of a head are summed.",
            f"{left_out} edges from the input have no place in the film. The group 'eap' keeps "
            "every edge as it was.",
        ]
    )
