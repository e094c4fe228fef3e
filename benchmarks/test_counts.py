"""The engine does exactly the recorded work, and no more."""

from __future__ import annotations

import pytest

from benchmarks.counts import COUNTED, count, recorded
from benchmarks.workloads import decoder
from cntbench.engine import sweep
from cntbench.engine.meter import predicted_work
from cntbench.engine.request import Request
from cntbench.models.blocks import Attention


@pytest.mark.parametrize("name", COUNTED)
def test_work_is_what_is_recorded(name):
    assert count(COUNTED[name]) == recorded()[name], (
        "the engine does other work than before: if that is meant, "
        "run `python -m benchmarks.counts` and commit benchmarks/counts.json"
    )


@pytest.mark.parametrize("name", COUNTED)
def test_work_is_what_is_predicted_without_numbers(name):
    workload = COUNTED[name]
    work = predicted_work(
        Request(
            decoder(workload.shape),
            workload.make_prompts(),
            workload.make_ablations(),
            observe_all=workload.observe_all,
            effects=workload.effects,
        )
    )
    counts = recorded()[name]
    assert work.attention_tokens == counts["attention_tokens"]
    assert work.mlp_tokens == counts["mlp_tokens"]
    assert work.products == counts["flops"]


def test_every_recorded_count_is_checked():
    assert set(recorded()) == set(COUNTED)


def test_recomputing_the_prefix_is_noticed(monkeypatch):
    # A deliberate slow-down: each block recomputes its states for every run that joins, as one
    # forward pass per source would.
    branch = sweep.Sweep._branch

    def slow(self, place, states):
        for stage in self.model.stages:
            for other in stage.blocks:
                if other is place.block:
                    break
                if isinstance(other, Attention):
                    other.states(stage.norm(self.streams[:1]))
        branch(self, place, states)

    before = recorded()["nano, zero"]
    monkeypatch.setattr(sweep.Sweep, "_branch", slow)
    after = count(COUNTED["nano, zero"])
    assert after["attention_tokens"] > before["attention_tokens"]
    assert after["flops"] > before["flops"]
    with pytest.raises(AssertionError, match="other work than before"):
        test_work_is_what_is_recorded("nano, zero")
