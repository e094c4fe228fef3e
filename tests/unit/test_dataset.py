"""The film: the engine's numbers in the schema's dims, and what does not count as dynamics."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from support.films import random_film, random_influence

from cntbench.components import components
from cntbench.errors import StorageError
from cntbench.models.origin import Folder
from cntbench.models.trajectory import Checkpoint
from cntbench.readouts import known_readouts
from cntbench.results.failure import Failure
from cntbench.results.film import Axes, checkpoint_dataset, film, unmeasured, usable
from cntbench.results.schema import COORDINATES, VARIABLES, validate

NODES = components(2, 2, parallel=True)


def test_every_number_lands_where_its_labels_say():
    rng = np.random.default_rng(1)
    measured = [random_influence(rng, NODES, 2) for _ in range(3)]
    checkpoint = Checkpoint("step5", 5, "a" * 64, Folder(Path()), tokens_seen=50)
    dataset = checkpoint_dataset(
        checkpoint, Axes(NODES, ["x", "y", "z"], ["zero", "mean"]), measured
    )
    validate(dataset, where="test")
    at = {"task": "y", "ablation": "mean", "checkpoint": "step5"}
    edge = dataset["influence"].sel(**at, source="L0.H1", target="L1.MLP")
    assert edge.item() == np.float32(measured[1].influence[1, 1, 5])
    effect = dataset["readout_effect"].sel(**at, readout="accuracy", source="L0.MLP")
    assert effect.item() == np.float32(
        measured[1].readout_effect[1, known_readouts().index("accuracy"), 2]
    )
    value = dataset["readout_value"].sel(task="z", readout="cross_entropy", checkpoint="step5")
    assert value.item() == np.float32(measured[2].readout_value[0])
    assert dataset["tokens_seen"].item() == 50
    assert list(dataset["source_head"].values) == [0, 1, -1, 0, 1, -1]
    assert list(dataset["target_layer"].values) == [0, 0, 0, 1, 1, 1]


def test_equal_weights_are_marked_and_do_not_count():
    dataset = random_film(revisions=["a" * 64, "a" * 64, "b" * 64])
    assert (dataset["status"].sel(checkpoint="step8") == "duplicate").all()
    assert (dataset["status_reason"].sel(checkpoint="step8") == "same weights as step0").all()
    assert list(usable(dataset)) == [True, False, True]


def test_a_failed_checkpoint_is_a_gap_with_its_reason():
    good = random_film(names=["step0"])
    checkpoint = Checkpoint("step8", 8, "c" * 64, Folder(Path()))
    failure = Failure("failed", "broken")
    bad = unmeasured(checkpoint, Axes(NODES, ["induction"], ["zero", "mean"]), failure)
    dataset = film([good, bad], {})
    validate(dataset, where="test")
    assert dataset["influence"].sel(checkpoint="step8").isnull().all()
    assert (dataset["status"].sel(checkpoint="step8") == "failed").all()
    assert (dataset["status_reason"].sel(checkpoint="step8") == "broken").all()
    assert list(usable(dataset)) == [True, False]


def break_dims(dataset: xr.Dataset, name: str) -> xr.Dataset:
    values = dataset[name]
    return dataset.assign({name: (values.dims[::-1], values.values.T, values.attrs)})


def break_type(dataset: xr.Dataset, name: str) -> xr.Dataset:
    return dataset.assign({name: dataset[name].astype(complex)})


def break_units(dataset: xr.Dataset, name: str) -> xr.Dataset:
    other = dataset.copy(deep=True)
    other[name].attrs["units"] = "furlong"
    return other


def break_range(dataset: xr.Dataset, name: str) -> xr.Dataset:
    other = dataset.copy(deep=True)
    other[name].values.flat[np.flatnonzero(~np.isnan(other[name].values))[0]] = -0.5
    return other


def drop(dataset: xr.Dataset, name: str) -> xr.Dataset:
    return dataset.drop_vars(name)


FLOATS = [name for name, variable in VARIABLES.items() if variable.type == "float"]
BOUNDED = [name for name in FLOATS if VARIABLES[name].lower == 0]
REQUIRED = [name for name, v in {**VARIABLES, **COORDINATES}.items() if not v.optional]


@pytest.mark.parametrize(
    ("damage", "name"),
    [
        *((break_dims, name) for name in FLOATS),
        *((break_type, name) for name in FLOATS),
        *((break_units, name) for name in FLOATS),
        *((break_range, name) for name in BOUNDED),
        *((drop, name) for name in REQUIRED),
    ],
    ids=lambda part: getattr(part, "__name__", part),
)
def test_validation_names_the_variable(damage, name):
    dataset = random_film()
    validate(dataset, where="f.nc")
    with pytest.raises(StorageError, match=rf"f\.nc: variable '{name}' "):
        validate(damage(dataset, name), where="f.nc")


def test_validation_refuses_what_the_schema_does_not_know():
    dataset = random_film()
    with pytest.raises(StorageError, match="'extra' is not in the schema"):
        validate(dataset.assign(extra=1.0), where="f.nc")
    other = dataset.copy(deep=True)
    other["status"].values[0, 0, 0] = "fine"
    with pytest.raises(StorageError, match="'status' has value 'fine'"):
        validate(other, where="f.nc")
    for name in ("status", "status_reason"):  # as a merge of results leaves holes
        text = dataset[name].astype(object)
        text.values[0, 0, 0] = np.nan
        with pytest.raises(StorageError, match=f"'{name}' has value nan\\nExpected: text"):
            validate(dataset.assign({name: text}), where="f.nc")
    with pytest.raises(StorageError, match="'step' does not rise"):
        validate(dataset.isel(checkpoint=[1, 0, 2]), where="f.nc")
    other = dataset.copy(deep=True)
    other["readout_value"].values[0, 0, 0] = np.inf
    with pytest.raises(StorageError, match="infinity"):
        validate(other, where="f.nc")


def test_checkpoints_of_an_earlier_version_lack_scores_that_are_measured_since():
    names = ("duplicate_token", "positional", "copying")
    whole = random_film()
    parts = [whole.isel(checkpoint=[i]) for i in range(3)]
    former = [part.drop_vars(names) for part in parts]
    assert not {*names} & {*film(former, whole.attrs).variables}
    mixed = film([former[0], *parts[1:]], whole.attrs)
    validate(mixed, where="mixed")
    for name in names:
        assert mixed[name].isel(checkpoint=0).isnull().all()
        xr.testing.assert_equal(
            mixed[name].isel(checkpoint=[1, 2]), whole[name].isel(checkpoint=[1, 2])
        )
    assert mixed["influence"].equals(whole["influence"])
