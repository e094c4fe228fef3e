"""Training in stages on one time axis: names of branches such as OLMo 2's and OLMo 3's."""

from __future__ import annotations

import warnings

import pytest
from support.models import random_model
from support.revisions import parse

from cntbench.errors import CheckpointError, CntbenchNote
from cntbench.models.hub.revisions import in_order, named_steps
from cntbench.models.stages import place_of
from cntbench.models.steps import named_step
from cntbench.models.trajectory import open_trajectory

#: As published: allenai/OLMo-2-1124-7B.
OLMO = [
    "stage1-step1000-tokens5B",
    "stage1-step928646-tokens3896B",
    "stage2-ingredient3-step1000-tokens5B",
    "stage2-ingredient3-step11931-tokens50B",
]
#: As published: HuggingFaceTB/SmolLM3-3B-checkpoints.
SMOLLM = ["stage1-step-40000", "stage1-step-3440000", "stage2-step-4200000", "stage3-step-4720000"]
WHERE = "hub:lab/tiny"


@pytest.mark.parametrize(
    ("name", "place"),
    [
        (OLMO[0], (1, "")),
        (OLMO[2], (2, "ingredient3")),
        ("stage3-step1000", (3, "")),
        ("stage2-step47684-mix-round5-from-2T-ckpt", (2, "mix-round5-from-2T-ckpt")),
        ("stage2-step1000-ckpt", (2, "ckpt")),
        ("stage1-epoch=3-step=1000-val_loss=2.5", (1, "")),
        ("stage1-step-001000-2BT", (1, "")),
        ("step1000-tokens4B", (None, "")),
        ("checkpoint-8", (None, "")),
    ],
)
def test_the_stage_and_its_branch_stand_in_the_name(name, place):
    assert place_of(named_step(name, where=WHERE)) == place


def test_a_later_stage_counts_on():
    with pytest.warns(CntbenchNote, match="stage 2 count on from 928646, the last step of"):
        checkpoints = parse(",".join(reversed(OLMO)), where=WHERE)
    assert [revision.name for revision in checkpoints] == OLMO
    assert [revision.step for revision in checkpoints] == [1000, 928646, 929646, 940577]
    billions = [int(revision.tokens_seen or 0) // 10**9 for revision in checkpoints]
    assert billions == [5, 3896, 3901, 3946]


def test_tokens_are_unknown_behind_a_stage_that_does_not_tell_them():
    with pytest.warns(CntbenchNote):
        checkpoints = parse("stage1-step8,stage2-step4-tokens5B,stage3-step4-tokens5B", where=WHERE)
    assert [revision.tokens_seen for revision in checkpoints] == [None, None, None]


def test_equal_steps_of_two_stages_are_two_checkpoints():
    with pytest.warns(CntbenchNote):
        checkpoints = parse("stage2-step8,stage1-step8,stage3-step8", where=WHERE)
    assert [(r.name[:6], r.step) for r in checkpoints] == [
        ("stage1", 8),
        ("stage2", 16),
        ("stage3", 24),
    ]


def test_steps_that_count_through_all_stages_stay_as_they_are():
    with pytest.warns(CntbenchNote, match="stay as they are") as notes:
        revisions = parse(",".join(SMOLLM), where=WHERE)
    assert len(notes) == 1
    assert [revision.step for revision in revisions] == [40_000, 3_440_000, 4_200_000, 4_720_000]


@pytest.mark.parametrize(
    ("names", "present", "steps"),
    [
        (["stage1-step1000-tokens5B", "stage2-ingredient3-step11931-tokens50B"], [], [1000, 11931]),
        (
            ["stage1-step1000-tokens5B", "stage2-ingredient3-step11931-tokens50B"],
            OLMO,
            [1000, 12931],
        ),
        (SMOLLM[1:3], SMOLLM, [3_440_000, 4_200_000]),
        (SMOLLM[1:3], [*SMOLLM, "main", "stage1", "it-SFT"], [3_440_000, 4_200_000]),
        (SMOLLM[1:3], [*SMOLLM, "stage3-step-8"], [3_440_000, 7_640_000]),
    ],
)
@pytest.mark.filterwarnings("ignore::cntbench.errors.CntbenchNote")
def test_all_of_a_repository_tells_how_its_stages_count(names, present, steps):
    revisions = in_order(named_steps(",".join(names), where=WHERE), where=WHERE, present=present)
    assert [revision.step for revision in revisions] == steps


def test_one_stage_keeps_its_steps():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checkpoints = parse(",".join(OLMO[2:]), where=WHERE)
    assert [revision.step for revision in checkpoints] == [1000, 11931]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("stage1-step8,stage1-step8-tokens1B", "both have step 8"),
        ("stage1-step8,stage2-step0", "both have step 8"),
        (
            "stage1-step8,stage2-a1-step4,stage2-a2-step8",
            "stage 2 has several branches: 'a1', 'a2'.*Name the checkpoints of one of them",
        ),
        ("stage2-a1-step4,stage2-a2-step8", "stage 2 has several branches: 'a1', 'a2'"),
        (
            "stage2-step1000-mix-round5-from-2T-ckpt,stage2-step47684",
            "stage 2 has several branches: '', 'mix-round5-from-2T-ckpt'",
        ),
        ("step8,stage1-step9,stage2-step4", "step8 has no stage, but other names have one"),
        ("lc-4k-to-32k-step-4,stage3-step-8", "lc-4k-to-32k-step-4 has no stage, but other names"),
        (f"stage1-step{2**63 - 1},stage2-step1", "step 9223372036854775808 is too large"),
    ],
)
@pytest.mark.filterwarnings("ignore::cntbench.errors.CntbenchNote")
def test_what_is_no_sequence_is_refused(text, says):
    with pytest.raises(CheckpointError, match=rf"(?s)hub:lab/tiny: .*{says}"):
        parse(text, where=WHERE)


def test_patterns_choose_among_the_branches():
    checkpoints = parse("stage1-*", where=WHERE, present=["main", "stage1-notes", *OLMO])
    assert [revision.name for revision in checkpoints] == OLMO[:2]
    with pytest.raises(CheckpointError, match=r"no revision with a step matches 'stage3-\*'"):
        parse("stage3-*", where=WHERE, present=OLMO)


@pytest.mark.parametrize("name", ["step-10k", "step1.5k", "ckpt_8_step_16"])
def test_patterns_do_not_leave_out_a_step_that_is_ambiguous(name):
    says = rf"hub:lab/tiny: (?s:.*){name}.*\n.*pattern that does not match it"
    with pytest.raises(CheckpointError, match=says):
        parse("*", where=WHERE, present=["main", "v2.0", "step-8000", name])
    revisions = parse("step-*[0-9]", where=WHERE, present=["main", "v2.0", "step-8000", name])
    assert [revision.name for revision in revisions] == ["step-8000"]


def test_folders_are_ordered_by_stage(tmp_path):
    names = ["stage1-step8-tokens1B", "stage1-step40-tokens5B", "stage2-ingredient1-step8-tokens1B"]
    for seed, name in enumerate(names):
        random_model("olmo2", layers=1, seed=seed).save_pretrained(tmp_path / name)
    with pytest.warns(CntbenchNote, match="count on from 40"):
        result = open_trajectory(f"dir:{tmp_path}", lambda *_: None).checkpoints
    assert [(item.name, item.step) for item in result] == list(zip(names, [8, 40, 48], strict=True))
    assert [item.tokens_seen for item in result] == [10**9, 5 * 10**9, 6 * 10**9]
