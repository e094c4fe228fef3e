"""The Python API: what the command line does, and models in memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch
import xarray as xr
from safetensors.torch import load_file
from support.films import random_film
from support.models import ARCHITECTURES, decoder, random_model
from support.runs import write_study
from support.text import write_tokenizer
from support.trajectories import run_cli, spoil, write_trajectory

import cntbench
from cntbench.engine.influence import influence as engine
from cntbench.engine.request import Request
from cntbench.errors import CheckpointError, CntbenchError, SpecError
from cntbench.metrics._film import film_metrics
from cntbench.models.named_weights import revision
from cntbench.prompts import Language
from cntbench.readouts import STANDARD
from cntbench.results.film import usable
from cntbench.results.schema import validate
from cntbench.runs.catalogue import load_catalogue
from cntbench.runs.options import ComparedKeys, StudyKeys

#: What importing the package has no need of.
HEAVY = ("torch", "transformers", "matplotlib", "scipy", "networkx", "netCDF4", "rich")


@pytest.fixture
def checkpoints(tmp_path) -> Path:
    """Checkpoints of a trajectory, and beside them a study ``tiny`` of it."""
    write_study(tmp_path / "specs", "tiny", tmp_path / "checkpoints", untrained=0)
    return write_trajectory(tmp_path / "checkpoints", vocabulary=60)


def run_tiny(tmp_path, name: str = "run", **options: object) -> xr.DataTree:
    return cntbench.run("tiny", specs=tmp_path / "specs", output=tmp_path / name, **options)


def run_python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout


def test_importing_the_package_loads_xarray_and_little_else():
    code = (
        "import cntbench, sys, xarray; xarray.Dataset().cnt; xarray.DataTree().cnt; "
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    assert run_python(code) == "[]\n"


def test_the_command_line_starts_without_torch():
    heavy = ("torch", "transformers", "matplotlib", "sklearn")
    code = (
        "import sys\n"
        "from cntbench.cli.main import main\n"
        "for words in (['--help'], ['list', 'tasks']):\n"
        "    sys.argv = ['cntbench', *words]\n"
        "    try:\n        main()\n"
        "    except SystemExit as end:\n        assert not end.code\n"
        f"    print([name for name in {heavy} if name in sys.modules], file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "[]\n[]\n")
    for word in ("Usage", "induction"):
        assert word in ran.stdout


def test_what_is_said_of_a_result_needs_neither_torch_nor_scipy_stats(tmp_path):
    path, page, saved = (str(tmp_path / name) for name in ("film.nc", "page.html", "saved.nc"))
    random_film().to_netcdf(path)
    code = (
        "import cntbench, contextlib, sys, xarray\n"
        "from cntbench.cli.main import main\n"
        f"film = xarray.open_dataset({path!r}).sel(ablation='mean')\n"
        "film.cnt.graph(step=8), film.cnt.metric('gini'), film.cnt.roles()\n"
        f"tree = cntbench.save_results(film, {saved!r}, draws=0)\n"
        "cntbench.claims(tree, 'long_tailed_weights', draws=19)\n"
        f"cntbench.report(tree, {page!r})\n"
        f"sys.argv = ['cntbench', 'show', {saved!r}]\n"
        "with contextlib.suppress(SystemExit):\n    main()\n"
        "print([name for name in ('torch', 'transformers', 'scipy.stats') if name in sys.modules])"
    )
    assert run_python(code).endswith("\n[]\n")


def test_the_package_says_what_it_has():
    assert set(cntbench.__all__) <= set(dir(cntbench))
    for name in cntbench.__all__:
        assert getattr(cntbench, name).__doc__
    with pytest.raises(AttributeError, match="'cntbench' has no attribute 'runn'"):
        assert cntbench.runn is None


def test_the_keys_of_a_study_that_functions_take_are_documented():
    assert "until_se" in StudyKeys.__annotations__
    for function, keys in ((cntbench.run, StudyKeys), (cntbench.compare, ComparedKeys)):
        assert not [key for key in keys.__annotations__ if f"``{key}``" not in function.__doc__]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_model_in_memory_is_measured_as_the_engine_does(architecture):
    model = random_model(architecture, vocabulary=60)
    result = cntbench.influence(model, "induction", ["resample", "zero"], prompts=3, seed=5)
    validate(result, where="test")
    assert result["checkpoint"].values.tolist() == ["model"]
    assert result["step"].values.tolist() == [0]
    assert (result["status"] == "ok").all()
    catalogue = load_catalogue()
    task = catalogue.tasks["induction"]
    expected = engine(
        Request(
            decoder(model),
            task.prompts(Language(np.arange(60)), count=3, seed=5),
            [catalogue.ablations[name].method for name in ("resample", "zero")],
            effects=task.spec.effects,
            seed=5,
        )
    )
    np.testing.assert_array_equal(
        result["influence"][0, :, 0], expected.influence.astype(np.float32)
    )
    np.testing.assert_array_equal(
        result["readout_value"][0, :, 0],
        expected.readout_value[: len(STANDARD)].astype(np.float32),
    )


def test_a_model_in_memory_is_measured_as_a_run_does(tmp_path, checkpoints):
    tree = run_tiny(tmp_path, seed=3)
    model = random_model("gpt_neox", layers=2, heads=2, width=8, mlp=24, vocabulary=60, seed=1)
    alone = cntbench.influence(model, "induction", "zero", prompts=2, seed=3)
    [expected] = tree["influence"].sel(checkpoint=["step8"]).values
    np.testing.assert_array_equal(alone["influence"].values[0], expected)


def test_several_tasks_and_everything_that_follows():
    model = random_model("gpt_neox", vocabulary=60)
    result = cntbench.influence(model, ["induction", "shuffled_repeat"], "zero", prompts=3)
    assert result["task"].values.tolist() == ["induction", "shuffled_repeat"]
    graph = result.cnt.graph(task="induction")
    assert nx.is_directed_acyclic_graph(graph)
    assert graph.graph["source"] == "memory:GPTNeoXForCausalLM"
    assert graph.graph["revision"] == result["revision"].item()
    assert result.cnt.metric("gini").notnull().all()


def test_a_decoder_is_measured_too():
    model = random_model("llama", vocabulary=60)
    options = {"prompts": 3}
    result = cntbench.influence(decoder(model), **options)
    np.testing.assert_array_equal(
        result["influence"], cntbench.influence(model, **options)["influence"]
    )
    assert result["revision"].item() == ""


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_the_precision_is_the_one_that_is_asked_for(dtype):
    model = random_model("gpt2", vocabulary=60, dtype=torch.float64)
    single, other = (
        cntbench.influence(model, prompts=3, **options) for options in ({}, {"dtype": dtype})
    )
    assert (single.attrs["dtype"], other.attrs["dtype"]) == ("float32", dtype)
    assert other.attrs["device"] == "cpu"
    assert single["revision"].item() == other["revision"].item()
    off = abs(other["influence"] / single["influence"] - 1).max().item()
    assert 0 < off < {"float64": 1e-4, "bfloat16": 0.5}[dtype]
    by_decoder = cntbench.influence(decoder(model), prompts=3, dtype="float64")
    double = cntbench.influence(model, prompts=3, dtype="float64")
    np.testing.assert_array_equal(by_decoder["influence"], double["influence"])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_model_is_left_as_it_is(architecture):
    model = random_model(architecture, vocabulary=60, dtype=torch.bfloat16).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.random.get_rng_state()
    cntbench.influence(model, ablation=["noise", "resample_eap"], prompts=3)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert model.training
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    after = model.state_dict()
    assert list(after) == list(before)
    for name, tensor in before.items():
        assert after[name].dtype == torch.bfloat16
        assert torch.equal(after[name], tensor)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_the_revision_is_that_of_the_saved_checkpoint(tmp_path, architecture, tied):
    model = random_model(architecture, vocabulary=60, tie_word_embeddings=tied)
    model.save_pretrained(tmp_path)
    result = cntbench.influence(model, prompts=2)
    assert result["revision"].item() == revision(load_file(tmp_path / "model.safetensors"))


def test_text_tasks_take_the_tokenizer(tmp_path):
    from transformers import PreTrainedTokenizerFast

    words = load_catalogue().tasks["induction_text"].spec.parameters
    pairs = zip(words["first"], words["second"], strict=True)
    write_tokenizer(tmp_path, [words["sentence"].format(first=a, second=b) for a, b in pairs] * 9)
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    model = random_model("gpt_neox", vocabulary=len(tokenizer), context=512)
    result = cntbench.influence(model, "induction_text", "zero", tokenizer=tokenizer, prompts=2)
    assert result["influence"].notnull().any()
    with pytest.raises(CntbenchError, match=r"no tokenizer\n.*tokenizer="):
        cntbench.influence(model, "induction_text", "zero", prompts=2)
    with pytest.raises(CheckpointError, match="str: is not a tokenizer"):
        cntbench.influence(model, tokenizer="gpt2")


def test_what_cannot_be_measured_is_refused():
    from transformers import AutoModel, BertConfig, BertForMaskedLM

    model = random_model("gpt_neox", vocabulary=60)
    with pytest.raises(SpecError, match=r"cntbench.influence: tasks: unknown task 'inducton'"):
        cntbench.influence(model, "inducton")
    with pytest.raises(CheckpointError, match="Linear: is not a model that can be measured"):
        cntbench.influence(torch.nn.Linear(2, 2))
    sizes = {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1, "vocab_size": 9}
    bert = BertForMaskedLM(BertConfig(**sizes, intermediate_size=8))
    families = r"'bert' is not supported\n.*gpt2, .*gpt_neox, .*llama"
    with pytest.raises(CheckpointError, match=families):
        cntbench.influence(bert)
    with pytest.raises(CheckpointError, match="GPTNeoXModel: has no unembedding"):
        cntbench.influence(AutoModel.from_config(model.config))
    with torch.device("meta"):
        absent = type(model)(model.config)
    with pytest.raises(CheckpointError, match="is not in memory"):
        cntbench.influence(absent)
    with torch.no_grad():
        model.gpt_neox.final_layer_norm.bias[0] = torch.nan
    with pytest.raises(CheckpointError, match=r"'gpt_neox.final_layer_norm.bias' has non-finite"):
        cntbench.influence(model)


def test_a_run_is_that_of_the_command_line(tmp_path, checkpoints, monkeypatch, capsys):
    options = ["--specs", tmp_path / "specs", "--seed", 3, "-j", 1, "-o", tmp_path / "typed"]
    assert run_cli(monkeypatch, capsys, "run", "tiny", *options)[0] == 0
    tree = run_tiny(tmp_path, "called", seed=3)
    files = [tmp_path / name / "results.nc" for name in ("typed", "called")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert tree.identical(cntbench.open_results(files[1]))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "call",
    [
        lambda: cntbench.run("none", jobs=2),
        lambda: cntbench.compare(ablations="none", jobs=2),
        lambda: cntbench.claims("none.nc", jobs=2),
    ],
)
def test_a_script_that_processes_would_run_again_is_told_before(tmp_path, monkeypatch, call):
    script = tmp_path / "script.py"
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(script), raising=False)
    guard = "if __name__ == '__main__':\n    cntbench.run(jobs=2)\n"
    for text, refused in ((None, False), ("cntbench.run(jobs=2)\n", True), (guard, False)):
        if text is not None:
            script.write_text(text)
        with pytest.raises(CntbenchError) as caught:
            call()
        assert ("would run this script again" in str(caught.value)) == refused


def test_a_script_that_the_process_of_a_gpu_would_run_again_is_told_before(tmp_path, monkeypatch):
    (tmp_path / "script.py").write_text("cntbench.run(device='auto')\n")
    script = str(tmp_path / "script.py")
    monkeypatch.setattr(sys.modules["__main__"], "__file__", script, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(CntbenchError, match=r"device = 'cuda' starts processes(.|\n)*__main__"):
        cntbench.run("none", jobs=1, device="auto")
    monkeypatch.setattr("cntbench.runs.executors.dask.check_answers", lambda _: None)
    for elsewhere in ({"executor": "serial"}, {"scheduler": "tcp://127.0.0.1:1"}):
        with pytest.raises(CntbenchError, match="study 'none'"):
            cntbench.run("none", jobs=1, device="auto", **elsewhere)


def test_a_checkpoint_that_fails_is_a_warning(tmp_path, checkpoints):
    spoil(checkpoints / "step8")
    with pytest.warns(UserWarning, match="1 checkpoint could not be measured; the same call"):
        tree = run_tiny(tmp_path)
    assert tree["status"].sel(checkpoint="step8").item() == "failed"


def test_progress_is_shown_if_it_is_asked_for(tmp_path, checkpoints, capsys):
    run_tiny(tmp_path, progress=True)
    assert capsys.readouterr().err != ""


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cntbench.run("nanno"), "Did you mean 'nano'"),
        (lambda: cntbench.run(tasks=["foo"]), "cntbench.run: tasks: unknown task 'foo'"),
        (lambda: cntbench.run(executor="dusk"), "Did you mean 'dask'?"),
        (lambda: cntbench.run(executor="serial", scheduler="tcp://x"), "cntbench.run: a scheduler"),
        (lambda: cntbench.compare(ablations="zeroo"), "cntbench.compare: ablations: unknown"),
        (lambda: cntbench.compare(ablation="zero"), "Did you mean 'ablations'"),
        (lambda: cntbench.compare(layers="0"), "cntbench.compare: unknown argument 'layers'"),
        (lambda: cntbench.compare("a.nc", tasks="bigram"), "tasks= would have no effect"),
        (lambda: cntbench.claims("a.nc", "three_phase"), "Did you mean 'three_phases'?"),
        (lambda: cntbench.claims("a.nc", draws=5), "cntbench.claims: draws = 5 is not allowed"),
        (lambda: cntbench.open_results("none.nc"), "none.nc: no such file"),
    ],
)
def test_mistakes_are_told(tmp_path, monkeypatch, call, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CntbenchError) as caught:
        call()
    assert message in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_claims_of_a_result_in_memory_leave_it_as_it_is():
    film = random_film(names=[f"step{i}" for i in range(12)])
    verdicts = cntbench.claims(film, "long_tailed_weights", draws=19)
    assert set(verdicts.children) == {"claims", "phases"}
    assert verdicts["claims"]["claim"].values.tolist() == ["long_tailed_weights"]
    tree = xr.DataTree.from_dict(
        {"/": film, "metrics": film_metrics(film["influence"], usable(film), ["gini"])}
    )
    before = tree.copy(deep=True)
    again = cntbench.claims(tree, ["long_tailed_weights"], draws=19)
    assert tree.identical(before)
    assert again["claims"].identical(verdicts["claims"])
    assert "metrics" in again.children


def test_claims_of_a_file_are_kept_in_it(tmp_path):
    from cntbench.results.storage import write_results

    path = tmp_path / "results.nc"
    write_results(xr.DataTree(random_film(names=[f"step{i}" for i in range(12)])), path)
    verdicts = cntbench.claims(str(path), "long_tailed_weights", draws=19)
    assert cntbench.open_results(path).identical(verdicts)


def test_files_are_compared_as_on_the_command_line(tmp_path):
    from cntbench.comparison.files import compare_files
    from cntbench.results.storage import write_results

    path = Path(tmp_path / "results.nc")
    write_results(xr.DataTree(random_film()), path)
    assert cntbench.compare(path).identical(compare_files([path]))
