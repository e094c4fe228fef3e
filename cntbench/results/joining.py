"""Films from parts: measured one by one in memory, or taken from other films."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import pairwise
from typing import Any

import xarray as xr

from cntbench.errors import CntbenchError, listed
from cntbench.results.difference import label_differences
from cntbench.results.film import film
from cntbench.results.schema import KEPT, validate
from cntbench.results.selection import with_dims
from cntbench.specs import content_hash

#: Attributes that every part of a film must share: what determines the numbers.
_SAME = ("prompts", "seed", "dtype")
#: Parts of a recorded spec that must agree, and those that it leaves out where they are not used.
_SAME_SPEC = ("cntbench", "tasks", "ablations", "tokenizer")
_USED = ("ablated", "watched", "experts", "until_se", "plugins")
#: Attributes that may differ, and are listed then.
_LISTED = ("device", "determinism", "source", "machine")


def join_films(parts: Iterable[xr.Dataset | xr.DataTree], *, where: str) -> xr.Dataset:
    """Join films of one model's training, of one checkpoint or more each, ordered by step.

    Checkpoints with the weights of an earlier one are marked as duplicates. Raises a
    `CntbenchError` if there are no parts, or a part is not a film; if steps do not ascend, or names
    repeat; if tasks, ablations, readouts, components or settings of the measurement differ.
    """
    films = [_checked(part, f"{where}: part {number}") for number, part in enumerate(parts)]
    if not films:
        raise CntbenchError("no film to join", where=where, hint="Pass a list of films.")
    for number, other in enumerate(films[1:], 1):
        _check_same(films[0], other, f"{where}: part {number}")
    checkpoints = [checkpoint for part in films for checkpoint in _checkpoints(part)]
    _check_order(checkpoints, where)
    return film(checkpoints, _attributes(films))


def _checked(part: Any, where: str) -> xr.Dataset:
    """Return a part with the schema's dims, in memory."""
    if isinstance(part, xr.DataTree):
        part = part.to_dataset(inherit=False)
    if not isinstance(part, xr.Dataset):
        raise CntbenchError(
            f"is not a film but a {type(part).__name__}",
            where=where,
            hint="cntbench.influence(model, …, step=100) measures one.",
        )
    dataset = with_dims(part).compute()
    validate(dataset, where=where)
    return dataset


def _check_same(first: xr.Dataset, other: xr.Dataset, where: str) -> None:
    for dim in ("task", "ablation", "readout", "source"):
        before, after = ([str(label) for label in part[dim].values] for part in (first, other))
        if before != after:
            what = label_differences(before, after) or "has another order"
            raise CntbenchError(
                f"{dim!r} differs from the first part: it {what}",
                where=where,
                hint="All parts of a film are of one model, measured in the same way.",
            )
    kept_dims = {
        name: about.dims[-1] for name, about in KEPT.items() if about.dims[-1] != "checkpoint"
    }
    kept = [
        {name: part[name].sizes.get(dim) for name, dim in kept_dims.items() if name in part}
        for part in (first, other)
    ]
    if kept[0] != kept[1]:
        raise CntbenchError(
            "keeps other numbers of prompts or positions than the first part",
            where=where,
            hint="Measure all parts with the same keep=, or drop what is kept: "
            "film.drop_vars([…]).",
        )
    settings = [_settings(part) for part in (first, other)]
    differing = [
        name for name, value in settings[0].items() if settings[1].get(name, value) != value
    ]
    if differing:
        raise CntbenchError(
            f"was measured in another way than the first part: {listed(differing, 5)}",
            where=where,
            hint="Measure all parts with the same cntbench, prompts, seed, dtype and specs.",
        )


def _settings(part: xr.Dataset) -> dict[str, Any]:
    """Return what determines the numbers of a film, as far as it is recorded."""
    settings = {name: part.attrs[name] for name in _SAME if name in part.attrs}
    with suppress(ValueError, TypeError):
        spec = json.loads(part.attrs.get("spec", "{}"))
        settings |= {name: spec[name] for name in _SAME_SPEC if name in spec}
        settings |= {name: spec.get(name) for name in _USED if spec}
    return settings


def _checkpoints(part: xr.Dataset) -> Iterator[xr.Dataset]:
    """Yield the checkpoints of a film, in which duplicates are not yet marked."""
    part = part.copy(deep=True)
    repeated = part["status"] == "duplicate"
    part["status"] = part["status"].where(~repeated, "ok")
    part["status_reason"] = part["status_reason"].where(~repeated, "")
    for index in range(part.sizes["checkpoint"]):
        yield part.isel(checkpoint=[index])


def _check_order(checkpoints: list[xr.Dataset], where: str) -> None:
    labels = [(str(c["checkpoint"].item()), int(c["step"].item())) for c in checkpoints]
    hint = "Give each model its training step: cntbench.influence(model, …, step=100)."
    for (name, step), (following, next_step) in pairwise(labels):
        if next_step == step:
            raise CntbenchError(
                f"two checkpoints are at step {step}: {name!r} and {following!r}",
                where=where,
                hint=hint,
            )
        if next_step < step:
            raise CntbenchError(
                f"checkpoint {following!r} at step {next_step} comes after {name!r} at step {step}",
                where=where,
                hint="Order the films by step: sorted(films, key=lambda film: film.step.min()).",
            )
    names = [name for name, _ in labels]
    for name in names:
        if names.count(name) > 1:
            raise CntbenchError(f"two checkpoints are named {name!r}", where=where, hint=hint)


def _attributes(films: list[xr.Dataset]) -> Mapping[str, Any]:
    """Return the first part's provenance, and all values of what may differ."""
    attributes = dict(films[0].attrs)
    for name in _LISTED:
        values = dict.fromkeys(str(part.attrs[name]) for part in films if name in part.attrs)
        if len(values) > 1:
            attributes[name] = "; ".join(values)
    return attributes | _spec(films)


def _spec(films: list[xr.Dataset]) -> dict[str, str]:
    """Return the recorded spec with the checkpoints of all parts, and its hash."""
    try:
        spec = json.loads(films[0].attrs["spec"])
        revisions = {
            str(name): str(revision)
            for part in films
            for name, revision in zip(
                part["checkpoint"].values, part["revision"].values, strict=True
            )
        }
        spec = {**spec, "checkpoints": revisions}
    except (KeyError, ValueError, TypeError):
        return {}
    return {"spec": json.dumps(spec, sort_keys=True), "spec_sha256": content_hash(spec)}
