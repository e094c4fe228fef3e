"""What is known of circuits: the variables, their dims, meaning and units."""

from __future__ import annotations

from collections.abc import Mapping

#: Title of a dataset of circuits.
TITLE = "Faithfulness of circuits"

_OVER_BUDGETS = ("ranking", "budget")
_ENDS = {
    "": "",
    "_lower": ", lower end of its 95 % jackknife interval over prompts",
    "_upper": ", upper end of its 95 % jackknife interval over prompts",
}
_READOUT = "mean over prompts, in its unit"

#: Numbers of a method's circuits: dims beside those of the method, meaning, units.
OF_CIRCUITS: Mapping[str, tuple[tuple[str, ...], str, str | None]] = {
    "scored_edges": ((), "edges that the method scores; all others stay in every circuit", "1"),
    "circuit_edges": (_OVER_BUDGETS, "scored edges of the circuit, pruned", "1"),
    "circuit_readout": (_OVER_BUDGETS, f"readout of the circuit, {_READOUT}", None),
    **{
        f"faithfulness{end}": (
            _OVER_BUDGETS,
            f"share of the readout that the circuit recovers{which}",
            "1",
        )
        for end, which in _ENDS.items()
    },
    "complement_faithfulness": (
        _OVER_BUDGETS,
        "share of the readout that all edges but the circuit's recover; 0 if it is complete",
        "1",
    ),
    "random_faithfulness": (
        (*_OVER_BUDGETS, "draw"),
        "faithfulness of random circuits with as many edges between each pair of layers",
        "1",
    ),
    **{
        f"{name}{end}": (("ranking",), f"{about}{which}", "1")
        for name, about in (
            ("cpr", "area under faithfulness over shares of the scored edges"),
            ("cmd", "area between faithfulness and 1 over shares of the scored edges"),
        )
        for end, which in _ENDS.items()
    },
    "random_cpr": (("ranking", "draw"), "area under the faithfulness of random circuits", "1"),
    "random_cmd": (
        ("ranking", "draw"),
        "area between the faithfulness of random circuits and 1",
        "1",
    ),
    "clean_readout": ((), f"readout of the whole model, {_READOUT}", None),
    "empty_readout": ((), f"readout with all scored edges patched, {_READOUT}", None),
}
#: Coordinates beside those of the method.
NAMES: Mapping[str, str] = {
    "ranking": "what edges are ranked by: signed effects or absolute ones",
    "budget": "share of the scored edges",
    "draw": "number of a random circuit",
}
