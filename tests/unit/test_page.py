"""The report as a file: what it holds, what it does not, and what it says."""

from __future__ import annotations

import base64
import io
import json
import re
import zlib
from html.parser import HTMLParser

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rich.console import Console
from scipy import stats
from support.films import random_film
from support.results import (
    HOSTILE,
    circuits_dataset,
    comparison_dataset,
    film_with_gaps,
    whole_result,
    with_phases,
)

from cntbench.errors import CntbenchError
from cntbench.reporting.page.circuits import circuits_section
from cntbench.reporting.page.payload import EDGE_VALUES, payload
from cntbench.reporting.page.sections import cost_panels
from cntbench.reporting.page.write import ALL_BITS, ERROR_BITS, films_page, pack, page
from cntbench.reporting.sentences.answers import answers, in_short
from cntbench.reporting.summary import summary
from cntbench.reporting.wording import MINUS
from cntbench.results.schema import HEAD_SCORES
from cntbench.views.circuit import circuit
from cntbench.views.comparison import agreement, methods
from cntbench.views.film import film
from cntbench.views.verdict import claims


def unpack(text):
    """Undo what `pack` does, as the page's script does it."""
    planes = np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype=np.uint8)
    return planes.reshape(4, -1).T.copy().view("<f4").ravel()


class Elements(HTMLParser):
    """The elements of a page with their attributes, and its text outside of scripts."""

    def __init__(self, text):
        super().__init__()
        self.found, self.text, self._inside = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside not in ("script", "style"):
            self.text.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


@pytest.fixture(scope="module")
def root():
    return film_with_gaps(tasks=("induction", "bigram"))


@pytest.fixture(scope="module")
def tree(root):
    return whole_result(root)


@pytest.fixture(scope="module")
def written(tree):
    return page(with_phases(tree), name="results.nc", comparison=comparison_dataset())


def sentences_of(tree, comparison=None):
    """Everything that the answers to readers' questions say, by question."""
    sentences = answers(tree, claims(tree), agreement(tree), methods(tree, comparison))
    return {
        item.question: " ".join(
            (
                *(item.headline, item.note),
                *(line.text for line in item.lines),
                *item.points,
                *item.sentences,
            )
        )
        for item in sentences
    }


@given(
    hnp.arrays(
        np.float32,
        st.integers(0, 40),
        elements=st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False),
    )
)
def test_packed_numbers_keep_three_digits(values):
    unpacked = unpack(pack(values))
    np.testing.assert_allclose(unpacked, values, rtol=2.0**-13)
    assert (unpacked[values == 0] == 0).all()


def test_gaps_stay_gaps_and_whole_numbers_stay_what_they_are():
    unpacked = unpack(pack([np.nan, 1.0, np.nan]))
    assert np.isnan(unpacked[[0, 2]]).all()
    codes = np.array([0, 1, 97_343, 2**24])
    np.testing.assert_array_equal(unpack(pack(codes, bits=ALL_BITS)), codes)


def test_every_number_of_every_cell_is_on_the_page(root, tree, written):
    labels = payload(tree).labels
    arrays = dict(re.findall(r'<script type="text/plain" id="array-(\w+)">(.*?)</script>', written))
    dims = labels["dims"]
    weight = unpack(arrays["weight"]).reshape(dims["weight"])
    error = unpack(arrays["error"]).reshape(dims["error"])
    codes = unpack(arrays["edge"]).reshape(dims["edge"]).astype(int)
    count = len(labels["component"])
    for t, task in enumerate(labels["task"]):
        for a, ablation in enumerate(labels["ablation"]):
            cell = root.sel(task=task, ablation=ablation)
            sources, targets = np.divmod(codes[t, a], count)
            for values, name in ((weight, "influence"), (error, "influence_se")):
                expected = cell[name].values[:, sources, targets].T
                np.testing.assert_allclose(values[t, a], expected, rtol=1e-3)
    assert set(dims) == set(arrays)


def test_the_page_asks_nothing_of_the_network(written):
    elements = Elements(written).found
    for tag, attributes in elements:
        assert tag not in ("link", "iframe", "img") or attributes.get("href") == "data:,"
        assert not attributes.get("src")
        if tag == "a":
            # Links that a reader follows, and to the papers of claims alone.
            assert attributes["href"].startswith(("#", "https://arxiv.org/abs/"))
    style = written[written.index("<style>") : written.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_links_lead_somewhere_and_names_are_unique(written):
    elements = Elements(written).found
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in elements:
        for key in ("href", "aria-labelledby", "for"):
            target = attributes.get(key, "").lstrip("#")
            if target.startswith("https://"):
                continue
            assert not target or target == "data:," or target in ids, (key, target)


def test_circuits_have_a_section_where_they_were_measured(root, tree, written):
    with_circuits, dataset = tree.copy(), circuits_dataset(root)
    with_circuits["faithfulness"] = xr.DataTree(dataset)
    html = page(with_circuits, name="results.nc")
    assert html.count('id="circuits"') == 1
    assert '<a href="#circuits">Circuits</a>' in html
    share = dataset["faithfulness"].isel(task=0, ablation=0, ranking=1, budget=1).item()
    assert f'<td class="num">{share:.2f}</td>' in html
    assert 'id="circuits"' not in written
    assert (
        html.count('<div class="plot" id="circuit-') == html.count("<caption>logit difference") == 2
    )


def test_circuits_of_no_budget_and_of_one_ranking_are_told_as_they_are(root, tree):
    dataset = circuits_dataset(root, (np.nan, 0.5))
    dataset["faithfulness"][:, :, 1] = dataset["faithfulness"][:, :, 0]
    dataset["faithfulness"].loc[{"task": "induction", "ablation": "zero"}] = np.nan
    tree = tree.assign(faithfulness=xr.DataTree(dataset))
    induction, bigram = circuits_section(tree)["curves"]
    assert induction["share"] == [50]
    titles = ["circuit, edges by score", "complement, edges by score"]
    assert [panel["title"] for panel in induction["panel"]] == titles
    lines = [panel["line"] for panel in (*induction["panel"], *bigram["panel"])]
    assert lines[0][0]["value"] == [None]
    expected = dataset["complement_faithfulness"].sel(task="bigram", ablation="mean")
    assert lines[3][1] == {"value": [expected.values[0, 1]]}
    random = dataset["random_faithfulness"].isel(task=0, ranking=0, budget=1).values
    assert induction["panel"][0]["random"] == {"low": [random.min()], "high": [random.max()]}
    tree["faithfulness"] = xr.DataTree(circuits_dataset(root, (np.nan,)))
    html = page(tree, name="results.nc")
    assert 'id="circuits"' in html
    assert 'id="circuit-0"' not in html


def test_score_against_cost_is_drawn_where_costs_were_counted(tree, written):
    assert written.count('id="costs"') == 1
    compared = comparison_dataset()
    panels = cost_panels(methods(tree, compared).verdict)
    assert [panel["title"] for panel in panels] == ["direct edges", "edges on the readout"]
    for purpose, panel in zip(compared["purpose"].values, panels, strict=True):
        assert [method["passes"] for method in panel["method"]] == [4.0, 5.0]
        for method in panel["method"]:
            cell = compared.sel(purpose=purpose, ablation=method["ablation"])
            assert method["score"] == cell["score"]
            assert method["pareto"] == (cell["pareto"] == 1)
    uncounted = compared.assign(pareto=np.nan * compared["pareto"])
    assert 'id="costs"' not in page(tree, name="results.nc", comparison=uncounted)


def test_the_terminal_and_the_page_say_the_same_of_claims_and_methods(tree):
    whole = tree.copy()
    whole["comparison"] = xr.DataTree(comparison_dataset())
    sentences = answers(whole, claims(whole), agreement(whole), methods(whole))
    assert in_short(whole) == [answer.headline for answer in sentences]


#: Standard error of the effects of `seeds`, which scatter more than that.
ERROR = 0.05


@pytest.fixture
def seeds(tree):
    """Three films whose tests all have the effects 0.5, 0.6 and 0.9; the last answers one claim."""
    films = {}
    for number, effect in enumerate((0.5, 0.6, 0.9)):
        film, group = tree.copy(), tree["claims"].to_dataset(inherit=False).copy(deep=True)
        numbers = {"value": effect, "null": 0, "p_value": 0.01, "power": 0.7, "detectable": 0.1}
        half, needed = ERROR * stats.norm.ppf(0.975), 0.1 - ERROR * stats.norm.ppf(0.8)
        numbers["power"] = stats.norm.cdf((group["test_minimum"] - needed) / ERROR)
        numbers |= {"least": 0.005, "lower": effect - half, "upper": effect + half}
        for name, value in numbers.items():
            group[f"test_{name}"][:] = value
        group["test_reason"][:] = ""
        group["verdict"] = group["verdict"].astype(object)
        group["verdict"][:] = "supported" if effect > 0.55 else "inconclusive"
        root = film.to_dataset(inherit=False)
        revisions = [f"{number}{revision}" for revision in root["revision"].values]
        film.dataset = root.assign_coords(revision=root["revision"].copy(data=revisions))
        film.attrs |= {"source": f"nano:seed={number}{HOSTILE}"}
        films[f"seed{number}/results.nc"] = film.assign(claims=xr.DataTree(group))
    group["test_reason"].loc[{"claim": "three_phases"}] = "needs 40 checkpoints, has 7"
    return films


def test_the_page_of_several_films_has_the_pooled_verdicts(seeds):
    html = films_page(seeds)
    words = Elements(html).words
    for effects, label, support, minimum in (
        ([0.5, 0.6, 0.9], "supported", "2 of 3", 0.13),
        ([0.5, 0.6], "inconclusive", "2 of 3, 2 tested", 0.1),
    ):
        half = stats.sem(effects) * stats.t.ppf(0.975, len(effects) - 1)
        low, high = np.mean(effects) - half, np.mean(effects) + half
        effect = f"{np.mean(effects):.2f} [{low:.2f}, {high:.2f}]".replace("-", MINUS)
        pools = np.random.default_rng(0).normal(
            minimum, np.std(effects, ddof=1), (20_000, len(effects))
        )
        needed = 0.1 - ERROR * stats.norm.ppf(0.8)
        z_scores = np.clip(pools / needed * stats.norm.ppf(0.95), *stats.norm.ppf([0.0025, 0.9975]))
        significant = z_scores.sum(axis=1) >= stats.norm.ppf(0.95) * np.sqrt(len(effects))
        films = rf"(\d\.\d\d) {support} {min(effects):.2f} to {max(effects):.2f}"
        shown = re.search(rf"{label} {re.escape(effect)} (?:< )?\S+ {films}", words)
        assert shown, label
        assert float(shown[1]) == pytest.approx(significant.mean(), abs=0.03)
    assert f"seed2/results.nc nano:seed=2{HOSTILE} 2 of 7 checkpoints do not count" in words
    assert "this one film" not in words
    significant = Elements(html).found
    assert [tag for tag, _ in significant].count("script") == 1
    assert not any(tag == "img" or attributes.get("src") for tag, attributes in significant)


def test_only_claims_that_all_films_have_tested_are_pooled(seeds):
    first, *others = seeds
    group = seeds[first]["claims"].to_dataset(inherit=False)
    at = list(group["claim"].values).index("three_phases")
    group["claim_version"].values[at] += 1
    seeds[first]["claims"] = xr.DataTree(group)
    words = Elements(films_page(seeds)).words
    assert "Not tested on all films: three_phases." in words
    assert "Long tailed weights" in words
    seeds[first]["claims"] = xr.DataTree(group.isel(claim=[at]))
    with pytest.raises(CntbenchError, match="no claim was tested on all of these results"):
        films_page(seeds)
    del seeds[others[1]]["claims"]
    with pytest.raises(
        CntbenchError, match=r"seed2/results.nc: no claims were tested\nTo test .* seed0/"
    ):
        films_page(seeds)


def packed(count: int, **options: int) -> int:
    """Return how long random numbers are, which compress as badly as can be: all the same way."""
    return 10 * len(pack(np.random.default_rng(0).random(-(-count // 10)), **options))


def test_the_default_study_fits_in_8_mb():
    """Numbers that are as hard to compress as can be, of its size: random ones."""
    names = [f"step{step}" for step in range(143)]
    root = random_film(names=names[:2], layers=3, heads=4)
    cells = 7 * 3 * 143
    edges = int(root["influence"][0, 0, 0].notnull().sum())
    assert edges == 75
    large = {
        "weight and error": packed(2 * cells * edges),
        "roles and effects": packed(8 * cells * 15),
        "metrics": packed(3 * cells * 19),
        "recurrence": packed(21 * 143 * 142 // 2),
        "the rest": len(page(xr.DataTree(root), name="x")),
    }
    assert sum(large.values()) < 8_000_000, large


def test_three_films_of_300_components_fit_in_12_mb():
    """Numbers that are as hard to compress as can be, of the size of three cells."""
    root = random_film(names=["step0", "step1"], ablations=("zero",))
    values = 3 * 143 * 300
    large = {
        "weight": packed(EDGE_VALUES),
        "its error": packed(EDGE_VALUES, bits=ERROR_BITS),
        "effects, roles and attention": packed(6 * values),
        "their errors": packed(3 * values, bits=ERROR_BITS),
        "recurrence": packed(3 * 143 * 142 // 2),
        "the rest": len(page(xr.DataTree(root), name="x")),
    }
    assert sum(large.values()) < 12_000_000, large


def test_text_of_a_result_is_never_markup(root):
    evil = root.assign_coords(task=["induction", HOSTILE], ablation=["zero", f"mean{HOSTILE}"])
    evil["status_reason"] = evil["status_reason"].where(evil["status_reason"] == "", HOSTILE)
    evil.attrs |= {
        "study": HOSTILE,
        "source": HOSTILE,
        "history": f"cntbench run {HOSTILE}",
        "spec": f'{{"name": "{HOSTILE[:-3]}"}}',
        "library_versions": f'{{"{HOSTILE[:-3]}": "{HOSTILE[:-3]}"}}',
        HOSTILE: HOSTILE,
    }
    compared = comparison_dataset().assign_coords(circuit=["a", HOSTILE, "gate"], special=[HOSTILE])
    compared["what"][:] = HOSTILE
    compared.attrs |= {"source": HOSTILE, "left_out": json.dumps({HOSTILE: HOSTILE})}
    harmless = Elements(page(whole_result(root), name="x", comparison=comparison_dataset()))
    elements = Elements(page(whole_result(evil), name=HOSTILE, comparison=compared))
    kinds = {tag for tag, _ in harmless.found} | {"pre", "code", "h3", "details", "summary", "q"}
    assert {tag for tag, _ in elements.found} <= kinds
    scripts = [sum(tag == "script" for tag, _ in item.found) for item in (harmless, elements)]
    assert scripts[0] == scripts[1]
    assert HOSTILE in "".join(elements.text)


@pytest.mark.parametrize(
    ("group", "says"),
    [
        ("metrics", "The result has no group 'metrics'. To make it: cntbench run mine"),
        ("nulls", "The result has no group 'nulls'. To make it: cntbench run mine"),
        ("roles", "The result has no group 'roles'. To make it: cntbench run mine"),
        ("phases", "no group 'phases'. To make it: cntbench claims results.nc"),
        ("claims", "no group 'claims'. To make it: cntbench claims results.nc"),
    ],
)
def test_a_group_that_is_missing_is_named_with_what_makes_it(tree, group, says):
    lacking = tree.copy()
    lacking.attrs["history"] = "cntbench run mine"
    del lacking[group]
    assert says in Elements(page(lacking, name="results.nc")).words


def test_a_bare_film_is_a_page_too(root):
    words = Elements(page(xr.DataTree(root), name="results.nc")).words
    assert words.count("The result has no group") == 6
    assert "no claims were tested." in words
    assert "To test them: cntbench claims results.nc" in words


def test_checkpoints_that_do_not_count_are_listed(written):
    words = Elements(written).words
    assert "2 of 7 checkpoints do not count: step16 (failed) and step64 (duplicate)." in words
    assert "step16 16 failed it failed step64 64 duplicate it duplicate" in words


def test_a_film_without_any_measurement_is_a_page():
    empty = film_with_gaps()
    for name, variable in empty.data_vars.items():
        if variable.dtype.kind == "f":
            empty[name][:] = np.nan
    empty["status"][:] = "failed"
    sentence = sentences_of(xr.DataTree(empty))
    assert "accuracy on induction was not measured" in sentence["When did induction emerge?"]
    assert sentence["Which components carry it?"].strip() == "No checkpoint was measured."
    assert "7 of 7 checkpoints" in Elements(page(xr.DataTree(empty), name="x")).words


def test_of_films_that_are_too_large_each_cell_keeps_its_strongest_edges(monkeypatch, root):
    monkeypatch.setattr("cntbench.reporting.page.payload.EDGE_VALUES", 4 * 7 * 4)
    monkeypatch.setattr("cntbench.reporting.page.payload._FEWEST_EDGES", 4)
    tree = xr.DataTree(root)
    data = payload(tree)
    assert (data.labels["kept"], data.labels["edges"]) == (4, 9)
    count = len(data.labels["component"])
    for t, task in enumerate(data.labels["task"]):
        for a, ablation in enumerate(data.labels["ablation"]):
            example = film(tree, task, ablation)
            peaks = {
                (s, d): np.nanmax(example.weight[:, edge])
                for edge, (s, d) in enumerate(
                    zip(example.layout.source, example.layout.target, strict=True)
                )
            }
            strongest = sorted(peaks, key=lambda pair: -peaks[pair])[:4]
            kept = {divmod(int(code), count) for code in data.arrays["edge"][t, a]}
            assert kept == set(strongest)
    words = Elements(page(tree, name="x")).words
    assert "For each task and ablation, the page holds the 4 of 9 edges" in words


def learning(root, values, error=0.01):
    changed = root.copy(deep=True)
    at = {"task": "induction", "readout": "accuracy"}
    changed["readout_value"].loc[at] = values
    changed["readout_se"].loc[at] = error
    return xr.DataTree(changed)


def test_emergence_is_where_accuracy_rose_fastest(root):
    values = [0.02, 0.03, 0.05, np.nan, 0.55, 0.9, 0.97]
    sentence = sentences_of(learning(root, values))["When did induction emerge?"]
    assert (
        "stays above its level at step 0 (0.02) from step 8 (95 % interval 1 to 32) on" in sentence
    )
    assert "rises fastest between steps 8 and 32" in sentence
    assert "from 0.02 ± 0.01 at step 0 to 0.97 ± 0.01 at step 128" in sentence
    assert " on bigram" in sentence


def test_no_emergence_is_claimed_of_what_noise_explains(root):
    values = [0.02, 0.01, 0.04, np.nan, 0.02, 0.05, 0.03]
    sentence = sentences_of(learning(root, values))["When did induction emerge?"]
    assert sentence.startswith(
        "The task induction was not learnt over these checkpoints, as far as"
    )
    assert "from 0.02 ± 0.01 at step 0 to 0.03 ± 0.01 at step 128" in sentence
    assert "fastest" not in sentence


def test_a_task_that_is_not_learnt_is_not_said_to_be(root):
    sentence = sentences_of(learning(root, [0.9, 0.8, 0.7, np.nan, 0.6, 0.5, 0.4]))
    assert "was not learnt" in sentence["When did induction emerge?"]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([0.02, 0.03, 0.05, np.nan, 0.55, 0.9, 0.97], "rises fastest between steps 8 and 32"),
        ([0.0, 0.0, 0.01, np.nan, 0.0, 0.01, 0.01], "induction was not learnt over these"),
        ([0.9, 0.8, 0.7, np.nan, 0.6, 0.5, 0.4], "induction was not learnt over these"),
        ([np.nan, np.nan, np.nan, np.nan, 0.5, np.nan, np.nan], "is 0.50 ± 0.01 at step 32"),
        ([np.nan] * 7, "was not measured"),
    ],
)
def test_the_terminal_and_the_page_say_the_same_of_learning(root, values, says):
    tree = learning(root, values)
    when, who, *_ = answers(tree, claims(tree), agreement(tree), methods(tree, None))
    console = Console(width=1000, file=io.StringIO())
    console.print(summary(tree))
    assert says in when.headline
    assert when.headline in console.file.getvalue()
    if "not measured" not in when.headline:
        assert who.headline in console.file.getvalue()


def test_components_that_stand_out_are_ordered_by_their_largest_effect(root):
    changed = root.copy(deep=True)
    at = {"task": "induction", "readout": "logit_difference", "checkpoint": "step128"}
    changed["readout_effect_se"].loc[at] = 0.1
    changed["readout_effect"].loc[at] = 0.2
    for score in HEAD_SCORES:
        changed[score][:] = 0.1
    for name, size in {"L1.H0": -9.0, "L0.H1": -7.0, "L1.MLP": 8.0}.items():
        changed["readout_effect"].loc[{**at, "source": name}] = size
    sentence = sentences_of(xr.DataTree(changed))["Which components carry it?"]
    assert sentence.startswith(
        "At step 128, ablating L1.H0 lowers the logit difference on induction by 9.00 ± 0.10 (zero "
        "ablation), followed by L1.MLP and L0.H1."
    )
    assert "L0.H0: " not in sentence


def test_none_stands_out_unless_it_does_by_every_ablation(root):
    changed = root.copy(deep=True)
    at = {"task": "induction", "readout": "logit_difference", "checkpoint": "step128"}
    changed["readout_effect_se"].loc[at] = 0.1
    changed["readout_effect"].loc[at] = 0.2
    changed["readout_effect"].loc[{**at, "source": "L1.H0", "ablation": "zero"}] = -9.0
    sentence = sentences_of(xr.DataTree(changed))["Which components carry it?"]
    assert sentence.startswith(
        "None stands out by every ablation at step 128: the largest effect on the logit difference "
        "on induction is that of L1.H0, −9.00 ± 0.10 by zero ablation."
    )


def test_an_effect_is_named_with_the_ablation_that_has_it(root):
    """The first ablation's effect of a component that comes first by another one had been named."""
    changed = root.copy(deep=True)
    at = {"task": "induction", "readout": "logit_difference", "checkpoint": "step128"}
    changed["readout_effect"].loc[at] = 0.0
    changed["readout_effect_se"].loc[at] = 0.1
    first, second = changed["ablation"].values[:2]
    changed["readout_effect"].loc[{**at, "source": "L1.MLP"}] = -9.0
    for ablation, effect in ((first, -3.0), (second, 20.0)):
        changed["readout_effect"].loc[{**at, "source": "L0.MLP", "ablation": ablation}] = effect
    says = (
        "ablating L0.MLP raises the logit difference on induction by 20.00 ± 0.10 "
        f"({second} ablation), followed by L1.MLP."
    )
    elsewhere = {**at, "task": "bigram"}
    changed["readout_effect"].loc[elsewhere] = 0.5
    changed["readout_effect"].loc[{**elsewhere, "source": "L0.MLP", "ablation": first}] = -4.0
    changed["readout_effect"].loc[{**elsewhere, "source": "L0.H0"}] = 8.0  # carries nothing
    sentence = sentences_of(xr.DataTree(changed))["Which components carry it?"]
    assert says in sentence
    assert "the largest change from ablating any of them is 4.00 on bigram." in sentence
    changed["readout_effect"].loc[{**at, "ablation": first}] = np.nan
    assert says in sentences_of(xr.DataTree(changed))["Which components carry it?"]
    view = circuit(xr.DataTree(changed), "induction")
    assert (view.ablation[0], view.part[0].effect) == (second, 20.0)


@pytest.mark.parametrize("prompts", [2, 4, 32])
def test_chance_alone_makes_a_component_stand_out_in_one_of_twenty_results(root, prompts):
    """By normal quantiles, one stood out in 69 of 150 results of noise on four prompts."""
    rng = np.random.default_rng(prompts)
    changed = root.isel(ablation=[0]).copy(deep=True).assign_attrs(prompts=prompts)
    at = {"task": "induction", "readout": "logit_difference", "checkpoint": "step128"}
    result = 0
    for _ in range(150):
        of_prompts = rng.standard_normal((prompts, changed.sizes["source"]))
        changed["readout_effect"].loc[at] = of_prompts.mean(axis=0)[None]
        changed["readout_effect_se"].loc[at] = (of_prompts.std(axis=0, ddof=1) / prompts**0.5)[None]
        view = circuit(xr.DataTree(changed), "induction")
        result += bool(view.part)
    assert result <= 15  # 7.5 expected, with a standard deviation of 2.7


def test_fewer_prompts_that_were_measured_let_fewer_components_stand_out(root):
    changed = root.copy(deep=True).assign_attrs(prompts=64)
    changed["readout_effect"][:] = 4.0
    changed["readout_effect_se"][:] = 1.0
    counts = np.full((changed.sizes["task"], changed.sizes["checkpoint"]), 64)
    for last, stands_out in ((64, True), (3, False)):
        counts[0, -1] = last
        counted = changed.assign(prompts_measured=(("task", "checkpoint"), counts))
        view = circuit(xr.DataTree(counted), str(changed["task"].values[0]))
        assert bool(view.part) is stands_out


def test_a_single_prompt_lets_no_component_stand_out(root):
    changed = root.copy(deep=True).assign_attrs(prompts=1)
    changed["readout_effect"][:] = 3.0
    changed["readout_effect_se"][:] = np.nan
    assert not circuit(xr.DataTree(changed), "induction").part


def test_what_heads_attend_to_is_said_by_their_scores(root):
    changed = root.copy(deep=True)
    for score in HEAD_SCORES:
        changed[score][:] = 0.1
    at = {"task": "induction", "checkpoint": "step128"}
    for name, scores in (
        ("previous_token", {"L0.H0": 0.9, "L0.H1": 0.1, "L1.H0": 0.2}),
        ("prefix_matching", {"L0.H0": 0.0, "L0.H1": 0.8, "L1.H0": 0.3}),
    ):
        for head, score in scores.items():
            changed[name].loc[{**at, "source": head}] = score
    sizes = {"L0.H0": 9.0, "L0.H1": 8.0, "L1.H0": 7.0}
    for head, size in sizes.items():
        place = {**at, "source": head, "readout": "logit_difference"}
        changed["readout_effect"].loc[place] = -size
    sentence = sentences_of(xr.DataTree(changed))["Which components carry it?"]
    assert re.search(r"L0\.H0: [^;]*; it attends to the previous token \(0\.90\)", sentence)
    assert re.search(r"L0\.H1: [^;]*; it attends to what followed .* \(0\.80\)", sentence)
    assert re.search(r"L1\.H0: [^;]*; none of its scores reaches 0\.5", sentence)
    assert "ablating L0.H0 (previous-token head)" in sentence
    assert "followed by L0.H1 (induction head)" in sentence


def test_effects_over_one_edge_are_said_to_be(root):
    scopes = {"zero": {"scope": "direct"}, "mean": {"scope": "total"}}
    direct = root.assign_attrs(spec=json.dumps({"ablations": scopes}))
    sentence = sentences_of(xr.DataTree(direct))["Which components carry it?"]
    assert (
        "With the ablation zero, the effect is that of the edge to the unembedding alone."
        in sentence
    )
    assert "unembedding" not in sentences_of(xr.DataTree(root))["Which components carry it?"]


def test_claims_are_worded_by_their_verdicts(tree):
    assert "checkpoints are too few for" in sentences_of(tree)["Do the paper's claims hold here?"]
    changed = tree.copy(deep=True)
    group = changed["claims"].to_dataset(inherit=False)
    group["verdict"] = group["verdict"].astype(object)
    group["verdict"].values[0] = [["supported", "not supported"], ["supported", "inconclusive"]]
    group["verdict"].values[1] = "inconclusive"
    group["reason"].values[:] = ""
    changed["claims"] = xr.DataTree(group)
    sentence = sentences_of(changed)["Do the paper's claims hold here?"]
    assert sentence.startswith(
        "Of 2 claims tested on induction, three phases is supported with every ablation; "
        "the verdict on long tailed weights depends on the ablation."
    )
    assert "supported with zero and mean; supported in 0 of 2 cases on the other tasks" in sentence
    assert "not supported with zero, inconclusive with mean" in sentence


def test_trust_is_by_tests_that_methods_fail(tree):
    sentence = sentences_of(tree, comparison_dataset())["Which ablation method should I trust?"]
    assert sentence.startswith("Use ")
    assert "Of this result's methods, zero fails least often, on 0 of 1 test circuit." in sentence
    assert "zero: none; mean: gate" in sentence
    assert "is chance" in sentence
    unmeasured = comparison_dataset()
    unmeasured["auroc"].loc[{"ablation": "mean"}] = np.nan
    unmeasured["passed"].loc[{"ablation": "mean"}] = np.nan
    sentence = sentences_of(tree, unmeasured)["Which ablation method should I trust?"]
    assert "zero fails on 0 of 1 test circuit;" in sentence
    assert "no other method of this result was tested" in sentence
    assert re.search(r"AUROC of planted direct edges .*: \S+ \(zero\)", sentence)
    assert "nan" not in sentence
    alone = sentences_of(tree)["Which ablation method should I trust?"]
    assert alone.startswith("This result does not say")
    assert "cntbench compare -o FILE" in alone


def test_the_first_screen_has_the_signs_of_all_verdicts_on_a_claim(tree):
    tree = tree.copy()
    group = tree["claims"].to_dataset(inherit=False)
    group["verdict"] = group["verdict"].astype(object)
    group["verdict"].values[:, 0] = ["not supported", "inconclusive"]
    group["verdict"].values[:, 1] = ["inconclusive", "supported"]
    tree["claims"] = xr.DataTree(group)
    text = page(tree, name="results.nc")
    lines = re.search('<ul class="lines">(<li>.*?claim-1.*?)</ul>', text)
    signs = [re.findall('aria-hidden="true">(.)</b>', line) for line in lines[1].split("</li>")]
    assert signs == [["✗", "?"], ["✓", "?"], []]
