"""What a plan refuses before anything is measured: methods that do not fit the tasks."""

from __future__ import annotations

import dataclasses
from itertools import combinations

import pytest
from support.text import write_tokenizer
from support.trajectories import write_trajectory

from cntbench.errors import SpecError
from cntbench.models.trajectory import open_trajectory
from cntbench.runs.catalogue import load_catalogue
from cntbench.runs.identity import differing
from cntbench.runs.measurer import requests_of
from cntbench.runs.plan import make_plan
from cntbench.runs.tasks import Task, misfit, read_task

TASK = """
version = 1
summary = "Mine."
generator = "random_tokens"
learnt = "x"
not_learnt = "y"
effects = {effects}
[parameters]
length = 5
"""
EDGES = """
version = 1
summary = "Mine."
replacement = "zero"
scope = "direct"
observable = "readout"
"""


@pytest.fixture
def planned(tmp_path):
    """Plan one ablation on a task of one's own, by the text of both."""
    trajectory = write_trajectory(tmp_path / "checkpoints", steps=(0,))

    def plan(ablation, *, effects="[]", n=3):
        specs = tmp_path / "specs"
        (specs / "ablations").mkdir(parents=True)
        (specs / "mine.toml").write_text(TASK.format(effects=effects))
        (specs / "ablations" / "edges.toml").write_text(ablation)
        catalogue = load_catalogue([specs])
        changes = {
            "trajectory": f"dir:{trajectory}",
            "tasks": ("mine",),
            "ablations": ("edges",),
            "prompts": n,
        }
        study = catalogue.amend(catalogue.study("nano"), changes)
        return make_plan(catalogue, study, lambda *_: None)

    return plan


def test_the_tokenizer_is_part_of_what_numbers_depend_on(planned, tmp_path):
    before = planned(EDGES, effects='["accuracy"]')
    assert before.identity["tokenizer"] == ""
    write_tokenizer(tmp_path / "checkpoints", ["a text of some words"], size=300)
    trajectory = open_trajectory(before.study.spec.trajectory, lambda *_: None)
    after = dataclasses.replace(before, trajectory=trajectory)
    assert len(after.identity["tokenizer"]) == 64
    assert differing(before.identity, after.identity) == ["tokenizer"]


#: Another value of each key of a study's spec that numbers depend on, and its key in the identity.
OTHER_VALUES = {
    **{"prompts": (4, "prompts"), "seed": (1, "seed"), "dtype": ("bfloat16", "dtype")},
    **{"blocks": (2, "blocks"), "layers": ("0", "ablated, watched"), "experts": (True, "experts")},
    **{"components": (("L0.MLP",), "ablated"), "targets": (("L1.MLP",), "watched")},
    **{"keep": (("prompts",), "keep"), "until_se": (0.1, "until_se")},
}
#: What adds to a result and changes no number of it, and what the parts of the plan are made of.
NO_NUMBERS = {"version", "summary", "untrained", "null_draws", "planted", "seeds"}
PARTS = {"trajectory", "checkpoints", "tasks", "ablations"}


def test_all_that_numbers_depend_on_is_part_of_the_identity(planned, monkeypatch):
    plan = planned(EDGES, effects='["accuracy"]')
    spec, trajectory, task, entry = (
        plan.study.spec,
        plan.trajectory,
        plan.tasks[0],
        plan.ablations[0],
    )

    def differing_from(**parts):
        return ", ".join(differing(plan.identity, dataclasses.replace(plan, **parts).identity))

    def with_spec(part, **values):
        return dataclasses.replace(part, spec=dataclasses.replace(part.spec, **values))

    assert {f.name for f in dataclasses.fields(spec)} == {*OTHER_VALUES, *NO_NUMBERS, *PARTS}
    for key, (value, name) in OTHER_VALUES.items():
        assert differing_from(study=with_spec(plan.study, **{key: value})) == name
    for key, value in (("untrained", 7), ("null_draws", 7), ("planted", False), ("seeds", (1,))):
        assert not differing_from(study=with_spec(plan.study, **{key: value}))
    [checkpoint] = trajectory.checkpoints
    other = dataclasses.replace(checkpoint, revision="x")
    for name, value in (("identity", "x"), ("checkpoints", (other,))):
        identity = differing_from(trajectory=dataclasses.replace(trajectory, **{name: value}))
        assert identity == {"identity": "trajectory"}.get(name, f"checkpoints.{checkpoint.name}")
    for kind, part, key, value in (
        ("tasks", task, "generator", "single_token"),
        ("ablations", entry, "replacement", "mean"),
    ):
        assert not differing_from(**{kind: (with_spec(part, summary="x"),)})
        for name, other in ((key, value), ("version", 2)):
            changed = differing_from(**{kind: (with_spec(part, **{name: other}),)})
            assert changed == f"{kind}.{part.name}.{name}"
    for name, key in (
        ("__version__", "cntbench"),
        ("SCHEMA_VERSION", "schema_version"),
        ("Plan.sources", "plugins"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(f"cntbench.runs.plan.{name}", "x")
            assert differing_from() == key


def test_what_is_measured_has_the_settings_of_the_study_and_all_of_its_plugins(
    planned, monkeypatch
):
    plan = planned(EDGES, effects='["accuracy"]')
    options = {"seed": 7, "keep": ("positions",), "until_se": 0.5}
    spec = dataclasses.replace(
        plan.study.spec, **options, components=("L0.H1", "L1.H0"), targets=("L1.MLP",)
    )
    observed = dataclasses.replace(plan.tasks[0].spec, observed="all")
    tasks = (dataclasses.replace(plan.tasks[0], spec=observed), plan.tasks[0])
    zero = load_catalogue().ablations["zero"]
    plan = dataclasses.replace(
        plan,
        study=dataclasses.replace(plan.study, spec=spec),
        tasks=tasks,
        ablations=(*plan.ablations, zero),
    )
    names = [component.name for component in plan.trajectory.shape.components]
    requests = requests_of(plan, None, 2**25)
    for request, prompts, observe_all in zip(requests, plan.prompts, (True, False), strict=True):
        assert {name: getattr(request, name) for name in options} == options
        assert [names[index] for index in request.sources] == ["L0.H1", "L1.H0"]
        assert [names[index] for index in request.targets] == ["L1.MLP"]
        assert [method.name for method in request.ablations] == ["edges", "zero"]
        assert (request.prompts is prompts, request.observe_all) == (True, observe_all)
        assert (request.effects, request.memory_budget) == (("accuracy",), 2**25)
    assert [[*request.sources] for request in requests_of(plan, None, sources=[2])] == [[2]] * 2
    monkeypatch.setattr("cntbench.runs.plan.own_sources", lambda names: names)
    assert {kind: {*names} for kind, names in plan.sources.items()} == {
        "generator": {"random_tokens"},
        "readout": {*requests[0].readouts},
        "replacement": {"zero"},
        "measure": {"relative_l2"},
        "estimator": {"exact"},
    }


def refused(planned, *arguments, **options):
    with pytest.raises(SpecError) as caught:
        planned(*arguments, **options)
    message = str(caught.value)
    assert "ablations/edges.toml: ablation 'edges' " in message
    return message


def test_edges_on_the_readout_need_a_readout(planned):
    message = refused(planned, EDGES)
    assert "observes the effect on a readout, but none is requested by task 'mine'" in message
    assert "name another readout first" in message


def test_estimates_need_a_gradient(planned):
    message = refused(
        planned, EDGES + 'estimator = "eap"', effects='["accuracy", "logit_difference"]'
    )
    assert "but accuracy has none (cross_entropy, " in message
    assert "have one): the first of the effects of task 'mine'" in message


def test_exact_edges_need_none(planned):
    assert planned(EDGES, effects='["accuracy"]').ablations[0].spec.observable == "readout"


def test_integrated_gradients_need_reference_prompts(planned, monkeypatch):
    made = Task.prompts

    def without_twins(self, *arguments, **options):
        return dataclasses.replace(made(self, *arguments, **options), reference=None)

    monkeypatch.setattr(Task, "prompts", without_twins)
    message = refused(
        planned,
        EDGES + 'estimator = "eap_ig"\nsteps = 3',
        effects='["logit_difference"]',
    )
    assert "needs reference prompts, and task 'mine' has none" in message
    assert "add a column 'corrupted' to your prompts" in message


def test_every_draw_needs_another_prompt(planned):
    several = EDGES.replace("zero", "resample") + "draws = 3\n[parameters]\ndonor = 'other'"
    message = refused(planned, several, effects='["accuracy"]', n=3)
    assert "draws 3 times from other prompts, and there are 2" in message
    assert "Ask for at least 4 prompts." in message


def test_one_prompt_has_no_other(planned):
    text = EDGES.replace("zero", "resample") + "[parameters]\ndonor = 'other'"
    message = refused(planned, text, effects='["accuracy"]', n=1)
    assert "takes outputs from other prompts, and there is one" in message
    assert "Ask for at least 2 prompts." in message


def test_one_prompt_has_a_mean_of_its_twin(planned):
    text = EDGES.replace("zero", "mean") + "[parameters]\npopulation='reference'\nover=['prompt']"
    assert planned(text, effects='["accuracy"]', n=1).prompts


def test_one_prompt_has_no_mean(planned):
    text = EDGES.replace("zero", "mean") + "[parameters]\npopulation = 'clean'\nover = ['prompt']"
    message = refused(planned, text, effects='["accuracy"]', n=1)
    assert "takes outputs from other prompts, and there is one" in message


@pytest.mark.parametrize("name", ["tokens", "reference", "targets", "decoys"])
@pytest.mark.parametrize("shift", [0, 5])
def test_every_token_of_a_prompt_is_in_the_vocabulary(planned, name, shift):
    prompts = planned(EDGES, effects='["accuracy"]').prompts[0]
    largest = max(int(getattr(prompts, n).max()) for n in ("tokens", "reference", "decoys"))
    assert misfit(prompts, largest + 1) is None
    changed = getattr(prompts, name).copy()
    changed[-1, -1] = largest + 1 + shift
    other = dataclasses.replace(prompts, **{name: changed})
    assert misfit(other, largest + 1).startswith(f"token {largest + 1 + shift}, which is outside")
    changed[-1, -1] = -2
    assert misfit(other, largest + 1).startswith("token -2, which is outside")


def test_columns_and_the_rule_of_answers_are_part_of_a_tasks_identity(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"clean": [1], "answer": [2], "b": [3], "wrong": [4]}')
    text = TASK.format(effects="[]").replace("random_tokens", "file").replace("length = 5", "{}")
    identities = []
    for parameters in ("", "columns = {answer = 'b'}", "answer = 'first'", "unusable = 'skip'"):
        path = tmp_path / "mine.toml"
        path.write_text(text.format(f"path = 'x.jsonl'\n{parameters}"))
        identities.append(read_task(path).identity)
    for first, second in combinations(identities, 2):
        assert differing(first, second)
