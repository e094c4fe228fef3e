"""Values stay on a device until all are computed: the sweep never waits for it in between."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.ablations import shipped
from support.models import decoder, random_model, random_prompts

from cntbench.engine import direct, sweep
from cntbench.engine.arrays import Arrivals
from cntbench.engine.chunking import Chunking, pieces
from cntbench.engine.influence import influence
from cntbench.engine.request import Request

METHODS = ("zero", "zero_cosine", "mean", "zero_direct")


class Late(Arrivals):
    """Values of a CPU arrive late, as those of a GPU do."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self.at_once = False


@pytest.fixture
def late(monkeypatch):
    for module in (sweep, direct):
        monkeypatch.setattr(module, "Arrivals", Late)


def measured(layers: int = 2, **options: object):
    model = decoder(random_model("gpt_neox", layers=layers, heads=2, width=4))
    methods = [shipped()[name].method for name in METHODS]
    return influence(Request(model, random_prompts(count=6), methods, **options))


@pytest.mark.parametrize("prompts", [1, 4, 6, 9])
@pytest.mark.parametrize("sources", [1, 4, 6, 9])
def test_pieces_have_each_source_on_each_prompt_once(prompts, sources):
    model = decoder(random_model("gpt_neox", layers=2, heads=2, width=4))
    chosen = [0, 1, 3, 4, 5]
    request = Request(model, random_prompts(count=6), [], sources=chosen)
    counts = np.zeros((6, 6), dtype=int)
    for rows, part in pieces(request, Chunking(prompts, sources, 1)):
        assert len(part.prompts) <= prompts
        assert len(part.ablated) <= sources
        np.testing.assert_array_equal(part.prompts.index, request.prompts.index[rows])
        counts[rows, [*part.ablated]] += 1
    np.testing.assert_array_equal(counts, np.isin(np.arange(6), chosen) * np.ones((6, 1)))


def test_values_come_in_one_copy_of_each_type():
    arrivals, kept = Late(torch.device("cpu")), {}
    for name, values in {
        "a": torch.ones(2, 3),
        "b": torch.arange(4.0).double(),
        "c": torch.zeros(1),
    }.items():
        arrivals.add(values, lambda array, name=name: kept.update({name: array}))
    assert not kept
    arrivals.bring()
    np.testing.assert_array_equal(kept["a"], np.ones((2, 3)))
    np.testing.assert_array_equal(kept["b"], np.arange(4.0))
    assert {name: array.dtype.name for name, array in kept.items()} == {
        "a": "float32",
        "b": "float64",
        "c": "float32",
    }
    kept.clear()
    arrivals.bring()
    assert not kept


@pytest.mark.parametrize("observe_all", [False, True])
def test_when_they_arrive_changes_no_number(observe_all, request):
    at_once = measured(observe_all=observe_all)
    request.getfixturevalue("late")
    result = measured(observe_all=observe_all)
    for name in (
        "influence",
        "influence_se",
        "readout_effect",
        "previous_token",
        "duplicate_token",
    ):
        np.testing.assert_array_equal(getattr(result, name), getattr(at_once, name))


def test_nor_any_number_at_a_position(request):
    at_once = measured(keep=("positions",)).kept["influence_by_position"]
    request.getfixturevalue("late")
    result = measured(keep=("positions",)).kept["influence_by_position"]
    np.testing.assert_array_equal(result, at_once)
    assert np.nanmax(result) > 0


def copies(monkeypatch, **options: object) -> int:
    """The number of copies from the device, each of which waits for it."""
    count = 0
    cpu = torch.Tensor.cpu

    def counted(tensor):
        nonlocal count
        count += 1
        return cpu(tensor)

    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "cpu", counted)
        measured(**options)
    return count


@pytest.mark.parametrize("keep", [(), ("positions",)])
def test_copies_do_not_grow_with_blocks_and_tiles(keep, late, monkeypatch):
    few = copies(monkeypatch, layers=2, keep=keep)
    assert copies(monkeypatch, layers=6, keep=keep) == few
    monkeypatch.setattr("cntbench.engine.chunking.STAGE_ROWS_AT_ONCE", 16)
    assert copies(monkeypatch, layers=2, keep=keep) == few
