"""How many untrained models are measured by default: never much beside the study itself."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support.models import random_model
from support.runs import quiet

from cntbench.engine.meter import predicted_work, total
from cntbench.errors import CntbenchNote
from cntbench.models.precision import TYPES
from cntbench.runs.catalogue import load_catalogue
from cntbench.runs.measurer import requests_of
from cntbench.runs.plan import Plan, make_plan
from cntbench.runs.run import provenance
from cntbench.runs.untrained import (
    ENOUGH,
    LARGE,
    LITTLE,
    default_count,
    untrained_count,
    work_per_model,
)

#: Few checkpoints of the embedded model: 20 untrained ones take little work beside them.
NANO = Path(__file__).parents[2] / "golden" / "nano" / "trajectory"


def plan_of(study: str, **changes: object) -> tuple[Plan, list[str]]:
    catalogue = load_catalogue()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        plan = make_plan(
            catalogue, catalogue.amend(catalogue.study(study), changes), quiet, outline=True
        )
    return plan, [
        str(trajectory.message)
        for trajectory in told
        if issubclass(trajectory.category, CntbenchNote)
    ]


@pytest.mark.parametrize(
    ("checkpoints", "work", "count"),
    [
        (3, LITTLE / 20, 20),
        (3, LITTLE / 10, 3),
        (143, LITTLE / 10, 20),
        (143, LARGE / 20, 20),
        (143, LARGE / 10, 14),
        (1000, LARGE / 10, 20),
        (9, LARGE, 1),
    ],
)
def test_the_count_follows_the_work(checkpoints, work, count):
    assert untrained_count(checkpoints, work) == count


@pytest.mark.parametrize("study", ["nano", "pythia-14m", "pythia-14m-smoke"])
def test_shipped_studies_measure_as_many_as_ever_and_say_nothing(study, no_hub):
    changes = {"trajectory": f"dir:{NANO}"} if study == "nano" else {}
    plan, told = plan_of(study, **changes)
    assert (len(plan.untrained), told) == (20, [])
    assert json.loads(provenance(plan)["study_spec"])["untrained"] == 20


def test_a_small_trained_model_is_counted_without_making_it(monkeypatch, tmp_path):
    """To import the models of transformers takes seconds, before anything is measured."""

    def counted(*_):
        raise AssertionError("the model is made")

    (tmp_path / "model.safetensors").write_bytes(bytes(10**6))
    prompts, trajectory = [SimpleNamespace(tokens=np.zeros((32, 40)))], trained(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr("cntbench.runs.untrained.work_per_model", counted)
        assert default_count(trajectory, prompts, 45) == ENOUGH
        with pytest.raises(AssertionError):
            default_count(trajectory, prompts, 10**6)
    monkeypatch.setattr("cntbench.runs.untrained.work_per_model", lambda *_: LARGE)
    assert default_count(trajectory, prompts, 10**6) == 3


def trained(folder: Path) -> Any:
    """A trajectory of 30 checkpoints with its config in a folder."""
    return SimpleNamespace(checkpoints=range(30), config=folder)


@pytest.fixture
def no_hub(monkeypatch):
    """The trajectories of Pythia open by their shipped configs."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


LARGE_ONE = "hub:EleutherAI/pythia-410m@pythia"


def test_of_a_large_model_there_are_fewer_and_that_is_said(no_hub):
    plan, told = plan_of("pythia-14m", trajectory=LARGE_ONE)
    assert len(plan.untrained) == 15
    assert told == [
        "untrained models: 15 instead of 20, for the work that each takes; no p-value against them "
        "is below 0.05. --untrained 20 measures all (untrained=20 in Python)"
    ]
    assert plan.study_spec["untrained"] == 15
    plan, told = plan_of("pythia-14m", trajectory=LARGE_ONE, untrained=20)
    assert (len(plan.untrained), told) == (20, [])


def test_they_are_no_more_than_the_checkpoints(no_hub):
    plan, told = plan_of("pythia-14m", checkpoints="count=4")
    assert len(plan.untrained) == 4
    assert len(told) == 1


@pytest.mark.parametrize("experts", [0, 4, 16])
def test_the_work_is_about_what_the_meter_counts(no_hub, tmp_path, experts):
    changes: dict[str, object] = {"tasks": ("induction",), "prompts": 8}
    if experts:  # the work does not depend on how many of them a token is not sent to
        sizes = {"mlp": 32, "moe_intermediate_size": 32, "mlp_only_layers": [], "vocabulary": 40}
        model = random_model("qwen3_moe", **sizes, num_experts=experts, num_experts_per_tok=2)
        model.save_pretrained(tmp_path / "step0")
        changes |= {"trajectory": f"dir:{tmp_path}", "ablations": ("resample",)}
    plan, _ = plan_of("pythia-14m", **changes)
    about = work_per_model(plan.trajectory, plan.prompts, len(plan.ablated) * len(plan.ablations))
    first, outline = plan.trajectory.checkpoints[0], plan.trajectory.outline
    model = (
        outline.decoder(TYPES["float32"])
        if outline
        else plan.trajectory.read(first, first.origin.fetch())[1]
    )
    exact = total(map(predicted_work, requests_of(plan, model, 2**30))).flops
    assert 0.5 < about / exact < 2
