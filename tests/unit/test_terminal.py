"""What is printed fits an 80 and a 120 columns wide terminal; progress says how long it takes."""

from __future__ import annotations

import io

import numpy as np
import pytest
import xarray as xr
from rich.console import Console
from support.films import random_film
from support.results import circuits_dataset, comparison_dataset, film_with_gaps, whole_result

from cntbench.errors import CntbenchError
from cntbench.reporting import progress, terminal
from cntbench.reporting.audit import audit_table
from cntbench.reporting.circuits import circuit_tables
from cntbench.reporting.claims import claims_of, claims_report
from cntbench.reporting.comparison import comparison_tables
from cntbench.reporting.summary import summary
from cntbench.results.integrity import audit_results
from cntbench.runs.catalogue import load_catalogue

TASKS = ("induction", "counterfactual_repeat", "shuffled_repeat", "random_tokens")
ABLATIONS = ("zero", "resample_eap_ig_activations", "mean_reference_by_position_direct")


@pytest.fixture(scope="module")
def tree() -> xr.DataTree:
    return whole_result(film_with_gaps(), metrics=["gini"])


@pytest.fixture(scope="module")
def many() -> xr.DataTree:
    """A film of tasks and ablations with long names."""
    return xr.DataTree(random_film(tasks=TASKS, ablations=ABLATIONS))


def printed(what, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(what)
    return console.file.getvalue()


def test_the_readout_with_no_edge_is_that_of_each_method(tree):
    """Methods that score other edges leave other ones in the empty circuit."""
    circuits = circuits_dataset(tree.to_dataset()).assign_attrs(source="nano")
    circuits["empty_readout"][:] = 0.25
    assert "0.25 with no edge" in printed(circuit_tables(circuits), 900)
    circuits["empty_readout"][:, 0] = -0.5
    assert "-0.5 or 0.25 with no edge" in printed(circuit_tables(circuits), 900)


@pytest.mark.parametrize("width", [80, 120])
def test_no_line_is_longer_and_no_word_is_cut(tree, many, width):
    claims = load_catalogue().some_claims([str(name) for name in tree["claims"]["claim"].values])
    compared = comparison_dataset()
    compared["baseline_ap"] = compared["ap"] / 2
    circuits = circuits_dataset(tree.to_dataset()).assign_attrs(source="nano")
    printables = {
        "summary": summary(tree),
        "summary of many": summary(many, "random_tokens", 8),
        "claims of one": claims_of(tree),
        "claims": claims_report({"results.nc": tree}, claims),
        "comparison": comparison_tables(compared),
        "circuits": circuit_tables(circuits),
        "audit": audit_table(audit_results(tree.to_dataset())),
    }
    for name, what in printables.items():
        text = printed(what, width)
        assert text.strip(), name
        assert max(map(len, text.splitlines())) <= width, name
        assert "…" not in text, name
    assert "…" not in printed(summary(many), 60)
    text = printed(summary(many), width)
    assert all(part in text for part in ("activations", "by_position_", "counterfactual_repeat"))


def test_a_comparison_without_scores_of_chance_is_shown():
    compared = comparison_dataset()
    assert "baseline_ap" not in compared
    text = printed(comparison_tables(compared), 100)
    assert "Recovery of planted edges" in text
    assert "random scores" not in text


def test_a_task_and_a_step_are_shown_where_they_are_named(many):
    text = printed(summary(many, "random_tokens", 8), 200)
    assert "on random_tokens at step 8" in text
    root = many.to_dataset()
    strength = root["influence"].sel(task="random_tokens", checkpoint="step8", ablation="zero")
    best = strength.mean("target").max().item()
    assert f"{best:.2f}" in text
    assert "at steps 0, 8, 100" in text
    assert "on induction at step 100" in printed(summary(many), 200)


def test_effects_that_were_not_measured_are_left_out(many):
    """A component without effects by one ablation had come last; one without any, as "+nan"."""
    film = many.to_dataset().copy(deep=True)
    film["readout_effect"][:] = np.nan
    film["readout_effect"].loc[{"source": ["L0.H1", "L1.H0"]}] = 1.0
    film["readout_effect"].loc[{"source": "L1.H0", "ablation": "zero"}] = np.nan
    film["readout_effect"].loc[{"source": "L1.H0", "ablation": ABLATIONS[1]}] = 2.0
    table = printed(summary(xr.DataTree(film)), 120).split("Change of the logit difference")[1]
    assert "nan" not in table
    names = [line.split()[0] for line in table.splitlines() if line.startswith(" L")]
    assert names == ["L1.H0", "L0.H1"]


@pytest.mark.parametrize(
    ("task", "step", "says"),
    [
        ("inducton", None, "Did you mean 'induction'"),
        (None, 9, "no checkpoint at step 9"),
        (None, 16, "of step 16 does not count"),
    ],
)
def test_a_wrong_task_or_step_is_refused(task, step, says):
    film = random_film(names=("step0", "step8", "step16"))
    film["status"].loc[{"checkpoint": "step16"}] = "failed"
    with pytest.raises(CntbenchError) as error:
        summary(xr.DataTree(film), task, step)
    assert says in str(error.value)


def test_the_time_left_is_by_the_mean_pace(monkeypatch):
    now = 100.0
    monkeypatch.setattr(progress, "monotonic", lambda: now)
    clock = progress.Pace()
    assert clock.update(40, 100)  # measured by an earlier run
    assert clock.words == ""
    now = 160.0
    assert not clock.update(41, 100)
    assert clock.seconds_left() == pytest.approx(60 * 59)
    now = 190.0
    assert clock.seconds_left() == pytest.approx(60 * 59 - 30)
    assert clock.words == "about 58 min left"
    assert clock.update(0, 7)
    assert clock.seconds_left() is None


def test_the_bar_says_what_is_measured_how_many_and_how_long(monkeypatch):
    now = 0.0
    monkeypatch.setattr(progress, "monotonic", lambda: now)
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    with progress.progress_bar(console) as report:
        report("measuring", 0, 163)
        now = 600.0
        report("measured untrained model 3 of 20", 100, 163)
    last = console.file.getvalue()
    assert "measured untrained model 3 of 20" in last
    assert "100 of 163" in last
    assert "about 6 min left" in last


def test_lines_are_broken_at_words_on_a_terminal_only(monkeypatch):
    text = "words that are longer than a terminal is wide " * 3
    for forced, expected in (("1", 40), ("0", len(text.strip()))):
        monkeypatch.setenv("TTY_COMPATIBLE", forced)
        monkeypatch.setenv("COLUMNS", "40")
        file = io.StringIO()
        console = terminal.Terminal(soft_wrap=True)
        console.file = file
        console.print(text.strip())
        longest = max(len(line.rstrip()) for line in file.getvalue().splitlines())
        assert longest <= expected
        assert (longest > 40) == (forced == "0")
