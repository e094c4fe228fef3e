"""Whatever a stranger's files say: a message that names the file, and no other checkpoint lost."""

from __future__ import annotations

import json
import random
import shutil

import pytest
from support.runs import plan_for, quiet
from support.trajectories import run_cli, write_trajectory
from transformers.utils import logging

from cntbench.errors import CntbenchError
from cntbench.estimate.estimate import estimate
from cntbench.models.config_values import LARGEST
from cntbench.models.trajectory import open_trajectory
from cntbench.runs.run import run

FAMILIES = ("gpt_neox", "gpt2", "llama", "mistral", "qwen2")
#: What stands for JSON that is nested too deeply for a parser.
DEEP = "@deep@"
VALUES = (
    None, "64", "x" * 5000, 0, -1, 0.5, True, float("nan"), float("inf"), 10**9, 10**12, 10**40,
    [], [1], {}, {"a": 1}, DEEP,
)  # fmt: skip
#: Of each family, beside those that caused tracebacks once.
SAMPLES = 12
KNOWN = [
    ("llama", ("num_attention_heads",), 3),
    ("llama", ("vocab_size",), "64"),
    ("mistral", ("hidden_act",), None),
    ("qwen2", ("num_key_value_heads",), 0),
    ("gpt2", ("n_head",), 0),
    ("gpt2", ("n_layer",), 10**9),
    ("gpt_neox", ("num_hidden_layers",), 10**9),
    ("gpt_neox", ("vocab_size",), 10**12),
    ("gpt_neox", ("max_position_embeddings",), 10**12),
    ("gpt_neox", ("rope_parameters", "partial_rotary_factor"), 10**12),
    ("gpt_neox", ("layer_norm_eps",), float("nan")),
    ("gpt_neox", ("rope_parameters", "rope_theta"), 0),
    ("llama", ("rope_parameters", "rope_type"), [1]),
    ("llama", ("dtype",), "float1"),
    ("qwen2", ("layer_types",), DEEP),
]


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """A trajectory of one checkpoint of each family."""
    root = tmp_path_factory.mktemp("families")
    return {name: write_trajectory(root / name, steps=(8,), architecture=name) for name in FAMILIES}


@pytest.fixture(autouse=True)
def quiet_transformers():
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    yield
    logging.set_verbosity(level)


def keys(config):
    below = [(k, b) for k, v in config.items() if isinstance(v, dict) for b in v]
    return [(key,) for key in config] + below


def changed(config, key, value):
    """The text of a config with another value."""
    config = json.loads(json.dumps(config))
    *above, last = key
    table = config
    for name in above:
        table = table[name]
    table[last] = value
    return json.dumps(config).replace(f'"{DEEP}"', "[" * 100_000 + "]" * 100_000)


def mutations(originals):
    """Pairs of a family and what its config is made."""
    chosen = list(KNOWN)
    rng = random.Random(1)
    for family, folder in originals.items():
        config = json.loads((folder / "step8" / "config.json").read_text())
        pairs = [(family, key, value) for key in keys(config) for value in VALUES]
        chosen += rng.sample(pairs, SAMPLES)
    return chosen


def use(folder):
    """Open a trajectory, plan a study of it, read its weights."""
    trajectory = plan_for(folder).trajectory
    for checkpoint in trajectory.checkpoints:
        trajectory.load(checkpoint)


def test_bad_values_are_told_with_the_file(originals):
    refused = 0
    for family, key, value in mutations(originals):
        folder = originals[family]
        path = folder / "step8" / "config.json"
        good = path.read_text()
        path.write_text(changed(json.loads(good), key, value))
        try:
            use(folder)
        except CntbenchError as error:
            message = str(error)
            refused += 1
            assert str(folder) in message or "the context of" in message, (family, key, value)
            assert len(message) < 1000
        finally:
            path.write_text(good)
    assert refused > len(KNOWN) + SAMPLES
    for folder in originals.values():
        use(folder)


@pytest.mark.parametrize(
    ("family", "key", "value", "says"),
    [
        ("gpt_neox", "num_hidden_layers", 10**9, "1 to 10000"),
        ("gpt2", "n_embd", 0, "n_embd = 0 is not allowed"),
        ("llama", "vocab_size", "64", "vocab_size"),
        ("mistral", "rms_norm_eps", float("nan"), "rms_norm_eps"),
        ("qwen2", "num_attention_heads", -1, "num_attention_heads"),
    ],
)
def test_the_key_is_named(originals, tmp_path, family, key, value, says):
    folder = shutil.copytree(originals[family], tmp_path / "run")
    path = folder / "step8" / "config.json"
    path.write_text(changed(json.loads(path.read_text()), (key,), value))
    with pytest.raises(CntbenchError) as caught:
        open_trajectory(f"dir:{folder}", quiet)
    assert caught.value.where == str(path)
    assert key in caught.value.what
    assert says in str(caught.value)


def test_limits_lie_above_every_published_model():
    pythia, largest = (50_688, 128_256, 152_064), LARGEST["vocab_size"]
    assert max(pythia) * 10 < largest
    assert LARGEST["max_position_embeddings"] >= 1_010_000, "of Qwen2.5-1M"


#: Whatever a checkpoint's own files hold.
CONTENT = {
    "config.json": [json.dumps([]), "{", "[" * 100_000, '{"model_type": ["gpt_neox"]}', "\0"],
    "model.safetensors": ["", "x" * 100],
    "model.safetensors.index.json": [
        "[" * 100_000,
        '{"weight_map": 3}',
        '{"weight_map": {"a": 1}}',
    ],
}


@pytest.mark.parametrize(("name", "text"), [(n, t) for n, texts in CONTENT.items() for t in texts])
@pytest.mark.parametrize("bad", [0, 1])
def test_a_bad_file_of_one_checkpoint_costs_no_other(originals, tmp_path, name, text, bad):
    for step in (0, 8, 100):
        shutil.copytree(originals["gpt_neox"] / "step8", tmp_path / f"step{step}")
    folder = tmp_path / f"step{(0, 8)[bad]}"
    if "index" in name:
        (folder / "model.safetensors").unlink()
    (folder / name).write_text(text)
    trajectory = open_trajectory(f"dir:{tmp_path}", quiet)
    for index, checkpoint in enumerate(trajectory.checkpoints):
        if index == bad:
            with pytest.raises(CntbenchError) as caught:
                trajectory.load(checkpoint)
            assert str(folder) in str(caught.value)
            assert len(caught.value.what.splitlines()) == 1
        else:
            trajectory.load(checkpoint)


def test_a_bad_tokenizer_is_passed_over_for_the_next(originals, tmp_path):
    from support.text import write_tokenizer

    for step in (0, 8):
        shutil.copytree(originals["gpt_neox"] / "step8", tmp_path / f"step{step}")
    (tmp_path / "step0" / "tokenizer.json").write_text("[" * 100_000)
    with pytest.raises(CntbenchError, match=r"step0.tokenizer\.json: is not a tokenizer"):
        open_trajectory(f"dir:{tmp_path}", quiet)
    write_tokenizer(tmp_path / "step8", ["a b c"])
    tokenizer = open_trajectory(f"dir:{tmp_path}", quiet).tokenizer
    assert tokenizer.path.parent.name == "step8"


def test_one_bad_config_of_three_fails_alone(originals, tmp_path):
    for step in (0, 8, 100):
        shutil.copytree(originals["llama"] / "step8", tmp_path / "in" / f"step{step}")
    good = json.loads((tmp_path / "in" / "step0" / "config.json").read_text())
    for step, key, value in ((0, "num_attention_heads", 3), (8, "hidden_act", None)):
        bad = changed(good, (key,), value)
        (tmp_path / "in" / f"step{step}" / "config.json").write_text(bad)
    outcome = run(plan_for(tmp_path / "in"), tmp_path / "out", jobs=1, progress=quiet)
    film = outcome.tree.to_dataset()
    assert film["status"].values[0, 0].tolist() == ["failed", "failed", "ok"]
    reasons = film["status_reason"].values[0, 0].tolist()
    assert [reason.partition(":")[0] for reason in reasons] == ["config.json", "config.json", ""]
    assert max(len(reason.splitlines()) for reason in reasons) == 1


def test_if_all_are_bad_there_is_one_message(originals, tmp_path, monkeypatch, capsys):
    folder = shutil.copytree(originals["llama"], tmp_path / "in")
    path = folder / "step8" / "config.json"
    path.write_text(changed(json.loads(path.read_text()), ("num_attention_heads",), 3))
    options = ["--trajectory", f"dir:{folder}", "--tasks", "induction", "-o", tmp_path / "out"]
    for command in ("run", "plan"):
        code, _, err = run_cli(monkeypatch, capsys, command, *options)
        assert code == 2
        assert "config.json" in err.replace("\n", "")
        assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


def test_an_untrained_model_that_cannot_be_made_is_told_with_the_file(originals, tmp_path):
    folder = shutil.copytree(originals["gpt_neox"], tmp_path / "in")
    path = folder / "step8" / "config.json"
    path.write_text(changed(json.loads(path.read_text()), ("initializer_range",), -1.0))
    trajectory = open_trajectory(f"dir:{folder}", quiet)
    [untrained] = trajectory.untrained(1)
    with pytest.raises(CntbenchError) as caught:
        trajectory.read(untrained, trajectory.config)
    assert caught.value.where == str(path)


def test_a_plan_is_of_what_can_be_read(originals, tmp_path):
    for step in (0, 8):
        shutil.copytree(originals["gpt2"] / "step8", tmp_path / f"step{step}")
    (tmp_path / "step0" / "model.safetensors").write_bytes(b"")
    assert estimate(plan_for(tmp_path, untrained=None), None, jobs=1).checkpoints == 2
