"""Whole results of random films: every group, gaps, and names that mean harm."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from cntbench.analysis.derived import NullDraws, derived
from cntbench.analysis.verdicts import verdicts
from cntbench.comparison.verdict import verdict
from cntbench.results.faithfulness import OF_CIRCUITS, TITLE
from cntbench.results.tree import result_tree
from cntbench.runs.catalogue import load_catalogue
from support.films import random_film
from support.runs import quiet

#: Text that would do something if it were taken for HTML or for a script.
HOSTILE = "</script><script>window.harmed = 1</script><img src=x onerror='window.harmed = 2'>\"'&"

STEPS = (0, 1, 8, 16, 32, 64, 128)
NAMES = [f"step{step}" for step in STEPS]
#: Numbers of the checkpoints that are gaps.
FAILED, DUPLICATE = 3, 5


def film_with_gaps(
    tasks: tuple[str, ...] = ("induction", "bigram"),
    ablations: tuple[str, ...] = ("zero", "mean"),
    seed: int = 0,
) -> xr.Dataset:
    """Return a film of which one checkpoint has failed, and one has the weights of another."""
    film = random_film(names=NAMES, tasks=tasks, ablations=ablations, seed=seed)
    for name, gap in (("failed", FAILED), ("duplicate", DUPLICATE)):
        film["status"][:, :, gap] = name
        film["status_reason"][:, :, gap] = f"it {name}"
    for name, variable in film.data_vars.items():
        if variable.dtype.kind == "f":
            film[name].loc[{"checkpoint": NAMES[FAILED]}] = np.nan
    return film


def whole_result(film: xr.Dataset, *, metrics: Sequence[str] = ()) -> xr.DataTree:
    """Return the result of a film, with all groups that a run derives but untrained models.

    Of the metrics, the file holds some if they are named: it is read and written sooner.
    """
    groups = derived(film, None, NullDraws(0, 3, 1, quiet))
    claims = load_catalogue().some_claims(["three_phases", "long_tailed_weights"])
    groups |= verdicts(film, None, claims, NullDraws(0, 3, 1, quiet))
    if metrics:
        groups["metrics"] = groups["metrics"][list(metrics)]
        groups["nulls"] = groups["nulls"][[name for name in metrics if name in groups["nulls"]]]
    return result_tree({"/": film, **groups})


def with_phases(tree: xr.DataTree) -> xr.DataTree:
    """Return a result with two change points everywhere, at steps 8 and 64."""
    changed = tree.copy(deep=True)
    group = changed["phases"].to_dataset(inherit=False)
    group["count"][:] = 3
    group["p_value"][:] = 0.01
    for name, values in (("step", (8, 64)), ("lower", (1, 32)), ("upper", (16, 128))):
        group[f"boundary_{name}"].values[..., :2] = values
    changed["phases"] = xr.DataTree(group)
    return changed


def comparison_dataset() -> xr.Dataset:
    """Return a comparison of the ablations ``zero`` and ``mean``, on three circuits."""
    dims = ("circuit", "difficulty", "truth", "ablation")
    rng = np.random.default_rng(0)
    labels = {
        "purpose": ["direct_edges", "readout_edges"],
        "ablation": ["zero", "mean"],
        "scored_circuit": ["dag_one", "dag_two"],
        "seed": [0, 1],
    }
    by_model = xr.DataArray(rng.random((2, 2, 2, 2)), labels, tuple(labels))
    passes = xr.DataArray([4.0, 5.0], {"ablation": ["zero", "mean"]})
    return xr.Dataset(
        {
            **verdict(by_model, passes),
            "score_by_model": by_model,
            "forward_passes": passes,
            "auroc": (dims, rng.random((3, 2, 2, 2))),
            "ap": (dims, rng.random((3, 2, 2, 2))),
            "passed": (("special", "ablation"), [[1.0, 0.0]]),
            "value": (("special", "ablation"), [[0.9, 0.1]]),
            "what": (("special", "ablation"), [["A → B present", "A → B present"]]),
            "split_half_mean": ("ablation", [0.9, np.nan]),
            "relative_seconds": ("ablation", [1.0, 2.5]),
        },
        coords={
            "circuit": ["dag_one", "dag_two", "gate"],
            "special": ["gate"],
            "difficulty": ["exact", "realistic"],
            "truth": ["direct", "total"],
            "ablation": ["zero", "mean"],
        },
        attrs={
            "title": "Ablation methods compared",
            "source": "nano:seed=0",
            "yardstick": "zero",
            "left_out": '{"noise": "is drawn"}',
        },
    )


def circuits_dataset(film: xr.Dataset, budgets: Sequence[float] = (0.1, 0.5)) -> xr.Dataset:
    """Return circuits of a film's methods, with random numbers."""
    rng = np.random.default_rng(0)
    coords = {
        "task": film["task"].values,
        "ablation": film["ablation"].values,
        "ranking": ["signed", "absolute"],
        "budget": np.array(budgets),
        "draw": np.arange(2),
    }
    return xr.Dataset(
        {
            name: (
                ("task", "ablation", *dims),
                rng.random([len(coords[dim]) for dim in ("task", "ablation", *dims)]),
            )
            for name, (dims, _, _) in OF_CIRCUITS.items()
        }
        | {"observed_readout": ("task", ["logit_difference"] * film.sizes["task"])},
        coords=coords,
        attrs={"title": TITLE, "checkpoint": "step8", "patched_by": "resample", "selection": "top"},
    )
