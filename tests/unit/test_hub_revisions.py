"""Which revisions a text stands for, and what is said of a text that stands for none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.revisions import parse

from cntbench.errors import CheckpointError
from cntbench.models.hub.revisions import step_of
from cntbench.runs.catalogue import load_catalogue


def names(text: str) -> list[str]:
    return [revision.name for revision in parse(text, where="hub:lab/tiny")]


def test_names_stand_by_rising_step():
    assert parse("step512, step0,checkpoint-8", where="") == (
        ("step0", 0, None),
        ("checkpoint-8", 8, None),
        ("step512", 512, None),
    )


@given(
    first=st.integers(0, 10**6),
    count=st.integers(1, 50),
    stride=st.integers(1, 10**4),
    around=st.sampled_from([("step", ""), ("stage1-step", "-tokens4B"), ("checkpoint-", "")]),
)
def test_a_range_is_the_list_of_its_names(first, count, stride, around):
    before, after = around
    wanted = [f"{before}{first + i * stride}{after}" for i in range(count)]
    assert names(f"{wanted[0]}..{wanted[-1]}:{stride}") == wanted
    assert names(",".join(reversed(wanted))) == wanted


def test_padded_numbers_stay_padded():
    assert names("iter_0000010..iter_0000030:10") == [
        "iter_0000010",
        "iter_0000020",
        "iter_0000030",
    ]


def test_items_may_be_mixed():
    assert names("step0,step1000..step3000:1000,step512") == [
        "step0", "step512", "step1000", "step2000", "step3000",
    ]  # fmt: skip


def test_the_pythia_schedule_has_154_checkpoints():
    schedule = names("pythia")
    assert len(schedule) == 154
    assert schedule[:12] == [
        "step0", "step1", "step2", "step4", "step8", "step16", "step32", "step64", "step128",
        "step256", "step512", "step1000",
    ]  # fmt: skip
    assert schedule[-143:] == names("step1000..step143000:1000")


@pytest.mark.parametrize(
    ("study", "count"), [("pythia-14m", 143), ("pythia-14m-full", 154), ("pythia-14m-smoke", 8)]
)
def test_the_shipped_studies_name_their_checkpoints(study, count):
    source, _, revisions = load_catalogue().study(study).spec.trajectory.partition("@")
    assert source == "hub:EleutherAI/pythia-14m"
    assert len(names(revisions)) == count
    assert set(names(revisions)) <= set(names("pythia"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "needs revisions"),
        ("pythai", "'pythai' is not a revision with a step.*Did you mean 'pythia'"),
        ("main", "'main' is not a revision with a step"),
        ("step0,,step1", "one of the revisions is empty"),
        ("step0,a/step1", "'a/step1' is not a revision"),
        ("step0..st/ep1:1", "'st/ep1' is not a revision"),
        (f"step{2**63}", "step 9223372036854775808 is too large"),
        ("step8,step08", "'step08' and 'step8' both have step 8"),
        ("pythia,step1000", "'step1000' and 'step1000' both have step 1000"),
        ("step0..step8", "range 'step0..step8' has no stride.*whole number"),
        ("step0..step8:0", "stride '0' is not allowed.*whole number"),
        ("step0..step8:x", "stride 'x' is not allowed"),
        ("step0..step9:4", "does not reach 'step9'.*before it is 8"),
        ("step9..step0:1", "has 0 steps"),
        ("step0..step999999999:1", "has 1000000000 steps.*100000"),
        (f"step0..step{2**63 - 1}:1", "has 9223372036854775808 steps.*100000"),
        ("step0..ckpt8:1", "not only their steps differ"),
        ("step0..:1", "one of the revisions is empty"),
    ],
)
def test_what_is_wrong_is_said(text, says):
    with pytest.raises(CheckpointError, match=rf"(?s)hub:lab/tiny.*{says}"):
        parse(text, where="hub:lab/tiny")


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("step1000", 1000),
        ("stage2-step5-tokens4B", 5),
        ("v7", None),
        ("main", None),
        ("a b1", None),
    ],
)
def test_a_name_tells_its_step(name, step):
    assert step_of(name) == step
