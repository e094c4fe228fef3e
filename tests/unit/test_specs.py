"""The strict loader: every kind of mistake gives one error that says where and what is allowed."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from contextlib import suppress
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from pydantic import ValidationError
from support.ablations import TASKS, measures, replacements

from cntbench import plugins
from cntbench.ablations.replacements import mean, noise, resample, zero
from cntbench.errors import SpecError
from cntbench.files.refusals import allowed
from cntbench.prompts.generators import markov_chain, repeated_block
from cntbench.readouts import known_readouts
from cntbench.specs import (
    AblationSpec,
    StudySpec,
    TaskSpec,
    as_dict,
    build,
    content_hash,
    read_toml,
)

STUDY = {
    "version": 1,
    "summary": "s",
    "trajectory": "nano",
    "tasks": ["induction"],
    "ablations": ["zero"],
}
TASK = {"version": 1, "summary": "s", "generator": "g", "learnt": "a", "not_learnt": "b"}
ABLATION = {"version": 1, "summary": "s", "replacement": "zero", "measure": "cosine"}
BLOCK = {"block": 8}
CHAIN = {"length": 8}
MEAN = {"population": "clean", "over": ["prompt"]}
NOISE = {"scale": 1.0, "population": "clean"}

VALID = [
    (StudySpec, STUDY),
    (TaskSpec, TASK),
    (AblationSpec, ABLATION),
    (repeated_block.Parameters, BLOCK),
    (markov_chain.Parameters, CHAIN),
    (mean.Parameters, MEAN),
    (noise.Parameters, NOISE),
    (resample.Parameters, {"donor": "other"}),
    (zero.Parameters, {}),
]

STUDY_KEYS = (
    "ablations, blocks, checkpoints, components, dtype, experts, keep, layers, null_draws, "
    "planted, prompts, seed, seeds, summary, targets, tasks, trajectory, until_se, "
    "untrained, version."
)
NAN, INF = float("nan"), float("inf")

MISTAKES = [
    # class, a valid table, what is changed in it (… takes a key away), the error's two lines
    # Unknown keys, with the nearest match.
    (StudySpec, STUDY, {"promts": 3}, "unknown key 'promts'", f"'prompts'? Allowed: {STUDY_KEYS}"),
    (StudySpec, STUDY, {"zzz": 3}, "unknown key 'zzz'", f"Allowed: {STUDY_KEYS}"),
    # The misspelt key, not the one that is missing because of it.
    (StudySpec, STUDY, {"tasks": ..., "task": ["a"]}, "unknown key 'task'", "mean 'tasks'?"),
    # … nor a wrong value elsewhere.
    (StudySpec, STUDY, {"version": 0, "sed": 1}, "unknown key 'sed'", "Did you mean 'seed'?"),
    (TaskSpec, TASK, {"obsrved": "all"}, "unknown key 'obsrved'", "Did you mean 'observed'?"),
    (AblationSpec, ABLATION, {"mesure": "x"}, "unknown key 'mesure'", "Did you mean 'measure'?"),
    (repeated_block.Parameters, BLOCK, {"filer": 1}, "unknown key 'p.filer'", "'filler'?"),
    (zero.Parameters, {}, {"scale": 1}, "unknown key 'p.scale'", ""),
    # Missing keys.
    (StudySpec, STUDY, {"summary": ...}, "key 'summary' is missing", f"keys: {STUDY_KEYS}"),
    (AblationSpec, ABLATION, {"version": ...}, "key 'version' is missing", "Expected keys:"),
    (repeated_block.Parameters, BLOCK, {"block": ...}, "key 'p.block' is missing", "block, filler"),
    # Wrong types; none is coerced.
    (StudySpec, STUDY, {"prompts": "3"}, 'prompts = "3" is not allowed', "be a whole number."),
    (StudySpec, STUDY, {"prompts": 3.0}, "prompts = 3.0 is not allowed", "be a whole number."),
    (StudySpec, STUDY, {"prompts": True}, "prompts = true is not allowed", "be a whole number."),
    (StudySpec, STUDY, {"trajectory": 3}, "trajectory = 3 is not allowed", "be text."),
    (StudySpec, STUDY, {"tasks": "a"}, 'tasks = "a" is not allowed', "be an array."),
    (StudySpec, STUDY, {"tasks": ["a", 3]}, "tasks (entry 2) = 3 is not allowed", "be text."),
    (TaskSpec, TASK, {"parameters": 3}, "parameters = 3 is not allowed", "be a table."),
    (repeated_block.Parameters, BLOCK, {"permuted": 1}, "p.permuted = 1 is", "be true or false."),
    (markov_chain.Parameters, CHAIN, {"sharpness": "1"}, "p.sharpness = ", "be a number."),
    # Out of range.
    (StudySpec, STUDY, {"version": 0}, "version = 0 is not allowed", "be 1 or more."),
    (StudySpec, STUDY, {"prompts": 0}, "prompts = 0 is not allowed", "be 1 or more."),
    (StudySpec, STUDY, {"prompts": 65537}, "prompts = 65537 is", "be 65536 or less."),
    (StudySpec, STUDY, {"seed": -1}, "seed = -1 is not allowed", "be 0 or more."),
    (StudySpec, STUDY, {"seed": 2**32}, f"seed = {2**32} is", f"be less than {2**32}."),
    (StudySpec, STUDY, {"tasks": []}, "tasks = [] is not allowed", "not be empty."),
    (StudySpec, STUDY, {"trajectory": ""}, 'trajectory = "" is', "not be empty."),
    (StudySpec, STUDY, {"summary": "x" * 201}, "summary = ", "have 200 or fewer characters."),
    (repeated_block.Parameters, BLOCK, {"block": 2}, "p.block = 2 is", "be 3 or more."),
    (markov_chain.Parameters, CHAIN, {"sharpness": 0.0}, "p.sharpness = 0.0", "be more than 0."),
    (noise.Parameters, NOISE, {"scale": -0.5}, "p.scale = -0.5 is not allowed", "be 0 or more."),
    # Numbers that are none.
    (
        noise.Parameters,
        NOISE,
        {"scale": NAN},
        "p.scale = nan is not allowed",
        "be a finite number.",
    ),
    (
        noise.Parameters,
        NOISE,
        {"scale": INF},
        "p.scale = inf is not allowed",
        "be a finite number.",
    ),
    (
        markov_chain.Parameters,
        CHAIN,
        {"sharpness": -INF},
        "p.sharpness = -inf",
        "be a finite number.",
    ),
    (StudySpec, STUDY, {"seed": NAN}, "seed = nan is not allowed", "be a whole number."),
    # Choices, with the nearest match.
    (TaskSpec, TASK, {"observed": "al"}, 'observed = "al" is', "'all'? Allowed: all, scored."),
    (
        AblationSpec,
        ABLATION,
        {"scope": "totl"},
        'scope = "totl" is',
        "'total'? Allowed: direct, total.",
    ),
    (AblationSpec, ABLATION, {"scope": 3}, "scope = 3 is not allowed", "Allowed: direct, total."),
    (
        AblationSpec,
        ABLATION,
        {"through": ["keys"]},
        'through (entry 1) = "keys"',
        "'key'? Allowed: key,",
    ),
    (AblationSpec, ABLATION, {"through": []}, "through = [] is not", "not be empty."),
    (AblationSpec, ABLATION, {"through": ["key"] * 2}, "through = ", "Each may appear once."),
    (AblationSpec, ABLATION, {"observable": "redout"}, 'observable = "redout" is', "'readout'?"),
    (AblationSpec, ABLATION, {"estimator": 3}, "estimator = 3 is not allowed", "be text."),
    (AblationSpec, ABLATION, {"steps": 0}, "steps = 0 is not allowed", "be 1 or more."),
    (AblationSpec, ABLATION, {"draws": 0}, "draws = 0 is not allowed", "be 1 or more."),
    (
        TaskSpec,
        TASK,
        {"effects": ["accuracy", "cross_entrop"]},
        'effects (entry 2) = "cross_entrop" is not allowed',
        f"Did you mean 'cross_entropy'? Allowed: {', '.join(sorted(known_readouts()))}.",
    ),
    (mean.Parameters, MEAN, {"population": "cleen"}, 'p.population = "cleen"', "mean 'clean'?"),
    (resample.Parameters, {}, {"donor": "clean"}, 'p.donor = "clean"', "other, reference."),
    # The axes of a mean.
    (mean.Parameters, MEAN, {"over": ["position"]}, "p.over = ", 'Allowed are ["prompt"] and'),
    (mean.Parameters, MEAN, {"over": ["prompt"] * 2}, "p.over = ", 'Allowed are ["prompt"] and'),
    (mean.Parameters, MEAN, {"over": ["position", "prompt"]}, "p.over = ", "Allowed are"),
    (mean.Parameters, MEAN, {"over": []}, "p.over = [] is not allowed", 'Allowed are ["prompt"]'),
    (
        mean.Parameters,
        MEAN,
        {"over": ["prompts"]},
        'p.over (entry 1) = "prompts"',
        "mean 'prompt'?",
    ),
]


@pytest.mark.parametrize(("cls", "table"), VALID)
def test_what_the_mistakes_start_from_is_valid(cls, table):
    made = build(cls, table, where="x.toml")
    assert as_dict(made).items() >= table.items()


@pytest.mark.parametrize(
    ("cls", "table", "changed", "what", "hint"),
    MISTAKES,
    ids=[f"{cls.__module__.rpartition('.')[2]}: {what}" for cls, _, _, what, _ in MISTAKES],
)
def test_a_mistake_is_told_with_file_key_and_what_is_allowed(cls, table, changed, what, hint):
    table = {key: value for key, value in {**table, **changed}.items() if value is not ...}
    prefix = "p." if cls.__name__ == "Parameters" else ""
    with pytest.raises(SpecError) as caught:
        build(cls, table, where="folder/some.toml", prefix=prefix)
    first, second = str(caught.value).split("\n")
    assert first.startswith(f"folder/some.toml: {what}")
    assert hint in second
    assert "pydantic" not in str(caught.value)


@pytest.mark.parametrize("cls", [cls for cls, _ in VALID])
def test_whatever_a_key_holds_its_error_is_in_our_words(cls):
    others = [None, True, -1, 0, 1.5, NAN, INF, "", "x", [], ["x"], [3], [[]], {}, {"x": 1}]
    others += [10**400, b"x", "\ud800", ["x"] * 2, "x" * 300, tuple(range(2000))]
    refused = 0
    for field in dataclasses.fields(cls):
        for other in others:
            with suppress(SpecError):
                try:
                    cls(**{field.name: other})
                except ValidationError as error:
                    hints = [allowed(p) for p in error.errors() if p["loc"][0] == field.name]
                    refused += len(hints)
                    assert not [hint for hint in hints if "nput should" in hint]
    assert refused or not dataclasses.fields(cls)


@given(
    table=st.dictionaries(
        st.sampled_from([*STUDY, "prompts", "seed", "promts"]),
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(max_size=5)
        | st.lists(st.text(max_size=3) | st.integers(), max_size=3),
    )
)
def test_whatever_stands_in_a_table_nothing_but_a_spec_error_comes_out(table):
    told = None
    try:
        build(StudySpec, table, where="x.toml")
    except SpecError as error:
        told = error
    if told is None:
        assert table.keys() >= STUDY.keys()
    else:
        assert str(told).startswith("x.toml: ")
        assert told.hint
        assert "Input should" not in told.hint, "that is pydantic's sentence"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"version = 1\ntasks = [1\nx = 2\n", "malformed TOML: Unclosed array (at line 3, column"),
        (b"version = 1\nversion = 2\n", "malformed TOML: Cannot overwrite a value"),
        (b"version = 1\n\nnonsense\n", "malformed TOML: Expected '=' after a key"),
        (b"version = 1\nsummary = '\xff'\n", "not UTF-8 text: "),
        (b"\x00", "malformed TOML: "),
    ],
)
def test_a_file_that_is_no_toml(tmp_path, content, what):
    path = tmp_path / "some.toml"
    path.write_bytes(content)
    with pytest.raises(SpecError) as caught:
        read_toml(path)
    assert str(caught.value).startswith(f"{path}: {what}")


def test_the_line_of_malformed_toml_is_told(tmp_path):
    path = tmp_path / "some.toml"
    path.write_text("version = 1\n\nnonsense\n")
    with pytest.raises(SpecError, match="line 3"):
        read_toml(path)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(SpecError) as caught:
        read_toml(tmp_path / "absent.toml")
    assert (
        str(caught.value)
        == f"{tmp_path / 'absent.toml'}: cannot be read: No such file or directory"
    )
    with pytest.raises(SpecError, match="cannot be read"):
        read_toml(tmp_path)


def test_text_is_utf_8_whatever_the_locale(tmp_path):
    path = tmp_path / "some.toml"
    path.write_bytes("summary = 'σ → ‖z‖'\n".encode())
    assert read_toml(path) == {"summary": "σ → ‖z‖"}


@pytest.mark.parametrize(("cls", "table"), VALID)
def test_specs_are_frozen_and_keyword_only(cls, table):
    made = build(cls, table, where="x.toml")
    for field in dataclasses.fields(made):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(made, field.name, getattr(made, field.name))
    if table:
        with pytest.raises(Exception, match="positional"):
            cls(*table.values())


def test_arrays_become_tuples():
    made = build(StudySpec, STUDY, where="x.toml")
    assert made.tasks == ("induction",)
    assert made == build(StudySpec, STUDY, where="y.toml")
    assert made.prompts == 32
    assert made.seed == 0


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


def shuffled(value, random):
    """The same data with the keys of every table in another order."""
    if isinstance(value, dict):
        items = [(key, shuffled(inner, random)) for key, inner in value.items()]
        random.shuffle(items)
        return dict(items)
    return [shuffled(inner, random) for inner in value] if isinstance(value, list) else value


@settings(max_examples=40)
@given(table=st.dictionaries(st.text(max_size=3), plain), random=st.randoms())
def test_the_hash_does_not_know_the_order_of_keys(table, random):
    again = shuffled(table, random)
    assert content_hash(again) == content_hash(table)


@settings(max_examples=40)
@given(
    one=st.dictionaries(st.text(max_size=2), plain), two=st.dictionaries(st.text(max_size=2), plain)
)
def test_the_hash_tells_different_data_apart(one, two):
    same = json.dumps(one, sort_keys=True) == json.dumps(two, sort_keys=True)
    assert (content_hash(one) == content_hash(two)) == same


def test_the_hash_is_fixed_for_all_time():
    # Run directories and caches are found by it. Value: sha256sum of the canonical text.
    assert content_hash({"b": [1, 2], "a": "x"}) == (
        "721ef82f2d6c0997bffb7a8ab3f40f8fb45b0b52ce2af3afa6b0f05efbdc317f"
    )


def test_every_value_of_a_spec_enters_its_hash():
    before = content_hash(as_dict(build(StudySpec, STUDY, where="x.toml")))
    for changed in [
        {"version": 2},
        {"summary": "t"},
        {"trajectory": "nano:seed=3"},
        {"tasks": ["bigram"]},
        {"ablations": ["mean"]},
        {"prompts": 31},
        {"seed": 1},
    ]:
        after = content_hash(as_dict(build(StudySpec, {**STUDY, **changed}, where="x.toml")))
        assert after != before, changed


SHIPPED = [
    *((TaskSpec, path) for path in TASKS.glob("*.toml")),
    *((TaskSpec, path) for path in (TASKS / "controls").glob("*.toml")),
    *((AblationSpec, path) for path in (TASKS / "ablations").glob("*.toml")),
    *((StudySpec, path) for path in (TASKS / "studies").glob("*.toml")),
]


@pytest.mark.parametrize(("cls", "path"), SHIPPED, ids=[path.stem for _, path in SHIPPED])
def test_every_shipped_spec_loads_with_its_parameters(cls, path):
    made = build(cls, read_toml(path), where=str(path))
    if cls is TaskSpec:
        rooms = plugins.discover("prompts.generators", required=("Parameters",))
        build(
            rooms[made.generator].module.Parameters,
            made.parameters,
            where=str(path),
            prefix="parameters.",
        )
    elif cls is AblationSpec:
        rule = replacements()[made.replacement]
        build(rule.Parameters, made.parameters, where=str(path), prefix="parameters.")
        assert (made.measure in measures()) == (made.observable == "target")
    elif cls is StudySpec:
        names = {
            kind: {p.stem for c, p in SHIPPED if c is kind} for kind in (TaskSpec, AblationSpec)
        }
        assert set(made.tasks) <= names[TaskSpec]
        assert set(made.ablations) <= names[AblationSpec]


def test_names_of_shipped_specs_are_unique_within_a_kind():
    for kind in (TaskSpec, AblationSpec, StudySpec):
        names = [path.stem for cls, path in SHIPPED if cls is kind]
        assert len(set(names)) == len(names)
        assert names


def test_the_shipped_files_are_plain_toml():
    for _, path in SHIPPED:
        assert tomllib.loads(Path(path).read_text(encoding="utf-8")) == read_toml(path)
