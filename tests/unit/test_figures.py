"""Figures show what the dataset holds, in files whose bytes are the same every time."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from xml.etree import ElementTree

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from support.films import random_film
from support.results import circuits_dataset
from support.runs import quiet

from cntbench import figures as draw
from cntbench.analysis.derived import NullDraws, derived
from cntbench.analysis.verdicts import verdicts
from cntbench.comparison.verdict import verdict
from cntbench.errors import CntbenchError, StorageError
from cntbench.figures._calibration import power_curves
from cntbench.figures._results import MissingGroupError
from cntbench.runs.catalogue import load_catalogue
from cntbench.views.steps import step_axis

NAMES = [f"step{step}" for step in (0, 1, 8, 16, 32, 64, 100, 128, 256)]
CELL = {"task": "bigram", "ablation": "mean"}
#: A failed checkpoint, with one that is by itself before it.
LOST, ALONE = ("step1", "step16"), 2
CLAIMS = ["three phases", "long tailed weights"]
METHODS = ("zero", "mean", "noise")


@pytest.fixture(scope="module")
def root() -> xr.Dataset:
    film = random_film(names=NAMES, tasks=("induction", "bigram"))
    for name in LOST:
        at = {"checkpoint": name}
        film["status"].loc[at] = "failed"
        for variable in ("influence", "influence_se", "readout_value", "readout_se"):
            film[variable].loc[at] = np.nan
    return film.assign_attrs(prompts=7)


@pytest.fixture(scope="module")
def tree(root) -> xr.DataTree:
    groups = derived(root, None, NullDraws(0, 3, 1, quiet))
    some = load_catalogue().some_claims(["three_phases", "long_tailed_weights"])
    groups |= verdicts(root, None, some, NullDraws(0, 3, 1, quiet))
    # Phases as they are found on longer films.
    phases = groups["phases"]
    for name, value in {"step": 32.0, "lower": 16.0, "upper": 64.0}.items():
        phases[f"boundary_{name}"][1, 1] = np.where(np.arange(4) == 0, value, np.nan)
    phases["count"][1, 1] = 2
    phases["phase_name"] = phases["phase_name"].astype(object)
    phases["phase_name"][1, 1] = np.where(np.arange(5) == 1, "refinement", "")
    # Verdicts as well.
    claims_group = groups["claims"]
    for name, value in {"value": 0.5, "null": 0.125, "lower": 0.25, "upper": 0.5}.items():
        claims_group[f"test_{name}"][1, 1, :, :] = value
    claims_group["verdict"] = claims_group["verdict"].astype(object)
    claims_group["verdict"][1, 1, 0] = "supported"
    claims_group["decisive"][1, 1] = 1
    of_both = comparison().sel(ablation=["zero", "mean"])
    beside = {"comparison": of_both, "faithfulness": circuits_dataset(root)}
    return xr.DataTree.from_dict({"/": root, **groups, **beside})


def comparison() -> xr.Dataset:
    rng = np.random.default_rng(0)
    dims = ("circuit", "difficulty", "truth", "ablation")
    scores = rng.random((3, 2, 2, 3))
    reliability = {
        f"split_half_{end}": ("ablation", [0.5 + shift, 0.7 + shift, np.nan])
        for end, shift in (("low", -0.1), ("mean", 0.0), ("high", 0.1))
    }
    labels = {
        "purpose": ["direct_edges", "total_influence", "readout_edges"],
        "ablation": list(METHODS),
        "scored_circuit": ["a", "b"],
        "seed": [0, 1],
    }
    by_model = xr.DataArray(rng.random((3, 3, 2, 2)), labels, tuple(labels))
    passes = xr.DataArray([4.0, 5.0, 90.0], {"ablation": list(METHODS)})
    return xr.Dataset(
        {
            **verdict(by_model, passes),
            "score_by_model": by_model,
            "forward_passes": passes,
            "auroc": (dims, scores),
            "ap": (dims, scores / 2),
            "passed": (("special", "ablation"), [[1.0, 0.0, np.nan]]),
            "value": (("special", "ablation"), np.zeros((1, 3))),
            "what": (("special", "ablation"), np.full((1, 3), "A → B")),
            "relative_seconds": ("ablation", [1.0, 2.0, 30.0]),
            **reliability,
        },
        coords={
            "circuit": ["a", "b", "fork"],
            "difficulty": ["exact", "realistic"],
            "truth": ["direct", "total"],
            "ablation": list(METHODS),
            "special": ["fork"],
        },
        attrs={"yardstick": "zero"},
    )


CALLS = {
    "film": {**CELL},
    "heatmap": {**CELL},
    "readouts": {**CELL},
    "metrics": {**CELL},
    "recurrence": {**CELL},
    "bump": {**CELL},
    "circuit": {"task": "bigram"},
    "effects": {"task": "bigram"},
    "scores": {"task": "bigram"},
    "claims": {},
    "agreement": {"task": "bigram"},
    "comparison": {},
    "faithfulness": {},
    "pareto": {},
}

#: Pictures that are one column wide if they are of one thing.
NARROW = {"film of one": {"steps": [8]}, "metrics of one": {"names": ["gini"]}}
#: Each picture, the smaller one if there are two.
SMALLEST = sorted({*CALLS, *NARROW} - {name.split()[0] for name in NARROW})


def picture(tree: xr.DataTree, name: str) -> Figure:
    kind = name.split()[0]
    return getattr(draw, kind)(tree, **CALLS[kind], **NARROW.get(name, {}))


def lines(ax) -> dict[str, np.ndarray]:
    return {line.get_label(): np.asarray(line.get_ydata(), dtype=float) for line in ax.lines}


def edges(ax):
    return next(c for c in ax.collections if c.get_label() == "influence")


def test_every_picture_is_tried_here():
    assert set(CALLS) == set(draw.__all__) - {"save"}


@pytest.fixture(scope="module")
def drawn(tree) -> Callable[[str], Figure]:
    """Draw a picture once for the tests that only look at it."""
    return cache(lambda name: picture(tree, name))


@pytest.mark.parametrize("name", CALLS)
def test_each_is_a_figure_apart_from_pyplot_and_the_users_settings(drawn, name):
    before = dict(mpl.rcParams)
    already_open = plt.get_fignums()
    figure = drawn(name)
    assert isinstance(figure, Figure)
    assert plt.get_fignums() == already_open
    assert dict(mpl.rcParams) == before
    assert figure.get_figwidth() in (3.5, 7.2)


def test_a_figure_is_laid_out_without_being_drawn(tree, monkeypatch):
    """Laid out so that ticks have their style; what draws it, draws it."""
    calls = []
    monkeypatch.setattr(ConstrainedLayoutEngine, "execute", lambda *_: calls.append("layout"))
    monkeypatch.setattr(Figure, "draw", lambda *_: calls.append("draw"))
    picture(tree, "heatmap")
    assert calls == ["layout"]


#: A raster and a PDF have nothing that depends on what is drawn, so one picture is drawn in each.
KINDS = dict.fromkeys(SMALLEST, ("svg",)) | {"heatmap": ("svg", "pdf", "png")}


@pytest.mark.parametrize("name", SMALLEST)
def test_files_are_of_their_format_and_the_same_every_time(tree, drawn, tmp_path, name):
    starts = {"svg": b"<?xml", "pdf": b"%PDF", "png": b"\x89PNG"}
    for number, figure in enumerate((drawn(name), picture(tree, name))):
        for kind in KINDS[name]:
            draw.save(figure, tmp_path / f"{name}{number}.{kind}")
    for kind in KINDS[name]:
        first, second = ((tmp_path / f"{name}{n}.{kind}").read_bytes() for n in range(2))
        assert first.startswith(starts[kind])
        assert first == second
    assert "<text" in (tmp_path / f"{name}0.svg").read_text()


@pytest.mark.parametrize("name", [*CALLS, *NARROW])
def test_no_words_reach_out_of_the_figure(drawn, name):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = drawn(name)
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    every = [ax for axis in figure.axes for ax in (axis, *axis.child_axes)]
    texts = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
    for ax in every:
        texts += [*ax.texts, ax.xaxis.label, ax.yaxis.label, ax.title, ax._left_title]
    for text in texts:
        if text.get_text():
            box = text.get_window_extent(renderer)
            ends = (box.x0, figure.bbox.x1 - box.x1, box.y0, figure.bbox.y1 - box.y1)
            assert min(ends) > -3, text.get_text()
    titles = [ax._left_title for ax in figure.axes if ax._left_title.get_text()]
    refuse_overlap([title.get_window_extent(renderer) for title in titles])
    assert all(ax.get_legend() is None for ax in every), "a legend lies on what is drawn"
    for legend in figure.legends:
        of_legend = legend.get_window_extent(renderer)
        assert not any(of_legend.overlaps(ax.get_window_extent(renderer)) for ax in figure.axes)


def refuse_overlap(boxes):
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:number])


def test_the_names_of_all_shipped_claims_have_space(tree):
    group = tree["claims"].to_dataset(inherit=False)
    names = [*load_catalogue().claims]
    group = group.isel(claim=[0] * len(names)).assign_coords(claim=names)
    figure = draw.claims(xr.DataTree.from_dict({"/": tree.to_dataset(), "claims": group}))
    assert len(figure.axes) == len(names)
    refuse_overlap([ax._left_title.get_window_extent() for ax in figure.axes])


def test_the_legend_of_power_names_films_without_a_size_too():
    cases = [("graded", 0.5, 40), ("graded", 1.0, 40), ("graded", 1.0, 80), ("sudden", np.nan, 80)]
    kinds, sizes, lengths = zip(*cases, strict=True)
    rates = {
        "claim": ["a_claim"] * 4,
        "kind": list(kinds),
        "truth": ["true"] * 4,
        "size": list(sizes),
        "checkpoints": list(lengths),
        "edges": [48] * 4,
        "supported": [1, 2, 3, 3],
    }
    dataset = xr.Dataset({name: ("case", each) for name, each in rates.items()}, attrs={"films": 3})
    *others, last = power_curves(dataset).axes
    assert [text.get_text() for text in last.get_legend().get_texts()] == ["graded", "sudden"]
    assert not last.get_legend().get_window_extent().overlaps(last.get_window_extent())
    assert [ax.get_xlabel() for ax in (*others, last)] == [
        "size of the effect",
        "checkpoints",
        "edges",
    ]


def test_the_film_draws_the_weights_of_the_moments_that_are_asked_for(root, tree):
    figure = draw.film(tree, **CELL, checkpoints=["step8", "step256"], steps=[64])
    for ax, name in zip(figure.axes, ["step8", "step256", "step64"], strict=False):
        weights = root["influence"].sel(**CELL, checkpoint=name).values.ravel()
        drawn = np.asarray(edges(ax).get_array())
        np.testing.assert_array_equal(drawn, np.sort(weights[~np.isnan(weights)]).astype(float))
        widths = np.asarray(edges(ax).get_linewidths())
        assert (np.diff(widths) >= 0).all()
    assert [ax.get_title(loc="left") for ax in figure.axes[:3]] == ["step 8", "step 256", "step 64"]


def test_unasked_the_film_shows_measured_checkpoints_from_the_first_to_the_last(drawn):
    titles = [ax.get_title(loc="left") for ax in drawn("film").axes[:7]]
    assert titles[0] == "step 0"
    assert titles[-1] == "step 256"
    assert not {"step 1", "step 16"} & set(titles)


def test_a_moment_that_was_not_measured_is_a_film_without_edges(tree):
    figure = draw.film(tree, **CELL, checkpoints=["step16", "step32"])
    assert len(edges(figure.axes[0]).get_array()) == 0
    assert "failed" in [text.get_text() for text in figure.axes[0].texts]


def test_the_heatmap_is_the_matrix_with_gaps(root, tree):
    figure = draw.heatmap(tree, **CELL, step=64)
    drawn = figure.axes[0].images[0].get_array()
    expected = root["influence"].sel(**CELL, checkpoint="step64").values
    np.testing.assert_array_equal(drawn.filled(np.nan), expected.astype(float))
    assert draw.heatmap(tree, **CELL).axes[0].get_title(loc="left").endswith("step 256")
    assert "7 prompts" in figure.axes[0].child_axes[0].get_ylabel()


def test_readouts_are_lines_with_gaps_and_bands_of_their_errors(root, drawn):
    figure = drawn("readouts")
    x = step_axis(root["step"].values).place(root["step"].values)
    for ax, readout in zip(figure.axes, root["readout"].values, strict=True):
        for task in ("induction", "bigram"):
            cell = root.sel(task=task, readout=readout)
            expected = cell["readout_value"].values.astype(float)
            np.testing.assert_array_equal(lines(ax)[task], expected)
            assert np.isnan(lines(ax)[task]).sum() == len(LOST)
        band = ax.collections[0].get_paths()
        top = cell["readout_value"].astype(float) + cell["readout_se"].astype(float)
        assert len(band) > 1, "a gap"
        highest = max(path.vertices[:, 1].max() for c in ax.collections for path in c.get_paths())
        tasks = root["readout_value"].astype(float) + root["readout_se"].astype(float)
        assert highest == pytest.approx(float(tasks.sel(readout=readout).max()))
        assert highest >= float(top.max())
    line = next(line for line in figure.axes[0].lines if line.get_label() == "bigram")
    np.testing.assert_array_equal(line.get_xdata(), x)
    assert 0 in line.get_markevery(), "a point between gaps is drawn as a dot"


def test_means_are_over_the_prompts_of_the_task(root):
    few = {"induction": 3, "bigram": 100}
    counts = [[few[str(task)]] * root.sizes["checkpoint"] for task in root["task"].values]
    counted = root.assign(prompts_measured=(("task", "checkpoint"), np.array(counts, float)))
    for task, count in few.items():
        for figure in (
            draw.effects(counted, task=task),
            draw.heatmap(counted, task=task, ablation="zero"),
        ):
            assert f"mean over {count} prompts" in words_of(figure)
    assert "mean over 3 to 100 prompts" in words_of(draw.readouts(counted))


def words_of(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(mpl.text.Text))


def test_phases_are_shaded_with_change_points_and_names(tree, drawn):
    axes = drawn("readouts").axes
    place = step_axis([0, 1, 256]).place(32)
    for ax in axes:
        assert [line.get_xdata()[0] for line in ax.lines if line.get_label() == "change point"] == [
            place
        ]
    assert "refinement" in [text.get_text() for text in axes[0].texts]
    unnamed = draw.readouts(tree).axes[0]
    assert "change point" not in lines(unnamed)


def test_metrics_have_their_lines_and_bands_of_null_models(tree):
    names = ["gini", "modularity", "turnover"]
    figure = draw.metrics(tree, names, **CELL)
    for ax, name in zip(figure.axes, names, strict=True):
        expected = tree["metrics"][name].sel(CELL).values
        np.testing.assert_array_equal(lines(ax)[name], expected)
        assert np.isnan(expected).sum() >= len(LOST)
    nulls = tree["nulls"]["modularity"].sel(CELL)
    np.testing.assert_array_equal(
        lines(figure.axes[1])["null"], nulls.sel(statistic="mean").values.astype(float)
    )
    top = (nulls.sel(statistic="mean") + 2 * nulls.sel(statistic="standard_deviation")).max()
    drawn = [p.vertices[:, 1].max() for p in figure.axes[1].collections[0].get_paths()]
    assert max(drawn) == pytest.approx(float(top))
    with pytest.raises(CntbenchError, match="Did you mean 'gini'"):
        draw.metrics(tree, ["ginny"], **CELL)


def test_recurrence_is_the_matrix_with_gaps(tree, drawn):
    matrix = drawn("recurrence").axes[0].images[0].get_array()
    expected = tree["metrics"]["recurrence"].sel(CELL).values
    np.testing.assert_array_equal(matrix.filled(np.nan), expected)
    assert np.isnan(expected).any()


def test_recurrence_of_some_checkpoints_compares_these(tree):
    part = tree.isel(checkpoint=[0, 2, 4])
    image = draw.recurrence(part, **CELL).axes[0].images[0].get_array()
    whole = tree["metrics"]["recurrence"].sel(CELL).values
    np.testing.assert_array_equal(image.filled(np.nan), whole[[0, 2, 4]][:, [0, 2, 4]])


@pytest.mark.parametrize("select", [{"ablation": 0}, {"ablation": 0, "checkpoint": 0}])
def test_the_comparison_of_one_cell_is_drawn_as_that_of_a_list_of_one(tree, select):
    drawn = [
        [text.get_text() for ax in draw.comparison(part).axes for text in ax.get_yticklabels()]
        for part in (tree.isel(select), tree.isel(ablation=[0]))
    ]
    assert drawn[0] == drawn[1]
    assert drawn[0]


def test_the_legend_of_claims_names_every_ablation():
    names = tuple(f"method{i}" for i in range(11))
    root = random_film(ablations=names)
    some = load_catalogue().some_claims(["long_tailed_weights"])
    groups = verdicts(root, None, some, NullDraws(0, 3, 1, quiet))
    figure = draw.claims(xr.DataTree.from_dict({"/": root, **groups}))
    entries = [text.get_text() for text in figure.legends[0].get_texts()]
    assert entries[3:] == [*names]
    figure.draw_without_rendering()
    assert figure.legends[0].get_window_extent().x1 <= figure.bbox.x1


@pytest.mark.filterwarnings("error")
def test_ranks_of_one_checkpoint_are_drawn_without_a_warning(tmp_path):
    root = random_film(names=("step0",))
    groups = derived(root, None, NullDraws(0, 0, 1, quiet))
    tree = xr.DataTree.from_dict({"/": root, **groups})
    draw.save(draw.bump(tree, task="induction", ablation="zero"), tmp_path / "bump.svg")


def test_bump_charts_are_the_ranks(tree, drawn):
    figure = drawn("bump")
    for ax, role, side in zip(
        figure.axes, ("spreader", "gatherer"), ("source", "target"), strict=True
    ):
        ranks = tree["roles"][f"{role}_rank"].sel(CELL)
        with_role = [str(n) for n in tree[side].values if ranks.sel({side: n}).notnull().any()]
        assert set(lines(ax)) == set(with_role)
        for name in with_role:
            expected = ranks.sel({side: name}).values.astype(float)
            np.testing.assert_array_equal(lines(ax)[name], expected)
        assert ax.get_ylim()[0] > ax.get_ylim()[1], "the first is on top"


def test_claims_are_effects_with_intervals(drawn):
    axes = drawn("claims").axes
    assert [ax.get_title(loc="left").replace("\n", " ") for ax in axes] == CLAIMS
    for ax, hue in zip(axes, ("#009E73", None), strict=True):
        [point] = [line for line in ax.lines if line.get_label() == "bigram mean"]
        assert (point.get_xdata()[0], point.get_ydata()[0]) == (0.375, pytest.approx(1.3))
        assert hue in (None, point.get_color())
        interval = ax.lines[ax.lines.index(point) - 1]
        assert list(interval.get_xdata()) == [0.25, 0.5]
    assert all("induction" not in lines for lines in map(str, lines(axes[0])))


def test_one_task_of_claims_is_one_row(tree):
    [ax, *_] = draw.claims(tree, task="bigram").axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["bigram"]
    with pytest.raises(CntbenchError, match="unknown task"):
        draw.claims(tree, task="bigrm")


def test_agreement_is_symmetric_and_named(drawn):
    figure = drawn("agreement")
    matrix = figure.axes[0].images[0].get_array()
    np.testing.assert_array_equal(matrix, matrix.T)
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["zero", "mean"]
    assert f"{matrix[0, 1]:.2f}" in figure.axes[0].texts[0].get_text()


def test_methods_have_their_recovery_reliability_and_cost(drawn):
    for count, figure in ((2, drawn("comparison")), (3, draw.comparison(comparison()))):
        dataset = comparison().isel(ablation=slice(count))
        recovery, special, reliability, cost = figure.axes
        random = dataset["ap"].sel(circuit=["a", "b"], difficulty="realistic").mean("circuit")
        for truth in ("direct", "total"):
            line = next(line for line in recovery.lines if truth in str(line.get_label()))
            np.testing.assert_allclose(line.get_xdata(), random.sel(truth=truth))
        texts = [text.get_text() for text in special.texts]
        assert texts == ["1 of 1", "0 of 1", "not tried"][:count]
        np.testing.assert_array_equal(reliability.lines[0].get_xdata(), [0.5, 0.7, np.nan][:count])
        np.testing.assert_array_equal(cost.lines[0].get_xdata(), [1, 2, 30][:count])


def test_the_front_of_score_and_cost_is_drawn_and_named():
    dataset = comparison()
    figure = draw.pareto(dataset)
    for ax, purpose in zip(figure.axes, dataset["purpose"].values, strict=False):
        at = dataset.sel(purpose=purpose)
        front = at.isel(ablation=np.flatnonzero(at["pareto"])).sortby("forward_passes")
        line = next(line for line in ax.lines if line.get_label() == "front")
        np.testing.assert_array_equal(line.get_xdata(), front["forward_passes"])
        np.testing.assert_array_equal(line.get_ydata(), front["score"])
        assert ax.texts[0].get_text().split("\n")[1:] == list(front["ablation"].values)
    fewer = (draw.pareto(dataset.isel(purpose=slice(count))) for count in (1, 2))
    for count, item in enumerate((*fewer, figure), start=1):  # the last place of four stays empty
        assert [ax.axison for ax in item.axes[:count]] == [True] * count
        assert not any(ax.axison for ax in item.axes[count:])
    with pytest.raises(MissingGroupError, match="no verdict on methods"):
        draw.pareto(dataset.drop_vars("verdict"))


def test_circuits_have_their_curves_by_ranking(root):
    dataset = circuits_dataset(root)
    figure = draw.faithfulness(dataset, task="bigram")
    above, below = figure.axes[:2], figure.axes[2:]
    for axes, name in ((above, "faithfulness"), (below, "complement_faithfulness")):
        for ax, ranking in zip(axes, dataset["ranking"].values, strict=True):
            shown = dataset[name].sel(task="bigram", ranking=ranking)
            for ablation in dataset["ablation"].values:
                np.testing.assert_array_equal(
                    lines(ax)[str(ablation)], shown.sel(ablation=ablation)
                )
    assert above[0].lines[0].get_xdata().tolist() == [10, 50]


def test_what_a_comparison_lacks_is_no_panel():
    some = comparison()[["ap", "auroc"]]
    assert len(draw.comparison(some).axes) == 1
    with pytest.raises(MissingGroupError, match="neither recovery nor cost"):
        draw.comparison(some[["ap"]].drop_vars("ap"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("metrics", "no group 'metrics'.\nTo make it: cntbench run"),
        ("recurrence", "no group 'metrics'"),
        ("bump", "no group 'roles'"),
        ("claims", "no group 'claims'.\nTo make it: cntbench claims RESULTS"),
        ("faithfulness", "no group 'faithfulness'.\nTo make it: cntbench circuit RESULTS --add"),
        ("pareto", "no group 'comparison'.\nTo make it: cntbench compare -o FILE && "),
        ("comparison", "no group 'comparison'.\nTo make it: cntbench compare -o FILE && "),
    ],
)
def test_what_a_result_lacks_is_said_with_what_makes_it(root, name, message):
    with pytest.raises(MissingGroupError) as caught:
        getattr(draw, name)(xr.DataTree(root), **CALLS[name])
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["heatmap", "film", "recurrence", "agreement"])
def test_what_fits_axes_is_drawn_on_those_of_the_user(tree, name):
    figure = Figure()
    axes = figure.subplots(1, 2)
    assert getattr(draw, name)(tree, **CALLS[name], ax=axes[1]) is figure
    assert not axes[0].has_data()
    assert axes[1].has_data()


def test_datasets_parts_and_the_accessor_draw_the_same(root, tree, tmp_path):
    part = root.sel(task="bigram").isel(ablation=[1])
    figures = [
        draw.heatmap(tree, **CELL, checkpoint="step64"),
        draw.heatmap(part, checkpoint="step64"),
        part.cnt.plot.heatmap(step=64),
        root.sel(**CELL, checkpoint="step64").cnt.plot.heatmap(),
        tree.cnt.plot.heatmap(**CELL, step=64),
    ]
    for number, figure in enumerate(figures):
        draw.save(figure, tmp_path / f"{number}.svg")
    assert len({(tmp_path / f"{n}.svg").read_bytes() for n in range(len(figures))}) == 1


def test_the_accessor_has_the_pictures_and_no_others(root):
    assert set(CALLS) <= set(dir(root.cnt.plot))
    assert root.cnt.plot.film.__doc__ == draw.film.__doc__
    with pytest.raises(AttributeError, match="there is no picture 'flim'"):
        assert root.cnt.plot.flim


def test_several_labels_are_to_be_chosen_from(root, tree):
    with pytest.raises(CntbenchError, match=r"2 tasks\nName one: induction, bigram\."):
        draw.film(root)
    chosen = draw.film(tree.sel(task="bigram"), ablation="mean", steps=[8])
    named = draw.film(root, **CELL, steps=[8])
    assert [text.get_text() for text in chosen.texts] == [text.get_text() for text in named.texts]
    with pytest.raises(StorageError, match="variable 'influence_se' is missing"):
        draw.film(root.drop_vars("influence_se"), **CELL)


def test_a_result_without_any_number_is_drawn_empty(root):
    lost = root.assign(influence=root["influence"] * np.nan)
    lost["status"] = xr.full_like(root["status"], "missing")
    title = draw.heatmap(lost, **CELL).axes[0].get_title(loc="left")
    assert title.endswith("step 256: missing")
    for steps in ([0], None):
        panel = draw.film(lost, **CELL, steps=steps).axes[0]
        assert len(edges(panel).get_array()) == 0
        assert [text.get_text() for text in panel.texts][-1] == "missing"
    values = lines(draw.readouts(lost).axes[0])
    assert np.isnan(values["bigram"]).all()


@pytest.mark.filterwarnings("ignore:Glyph")
def test_names_are_drawn_as_they_are_whatever_they_hold(tmp_path):
    root = random_film(tasks=("$\\frac{$\x1b[31m",), ablations=("$x$", "$_{$"))
    figure = draw.agreement(xr.DataTree(root))
    for kind in ("svg", "png"):
        draw.save(figure, tmp_path / f"agreement.{kind}")
    text = "".join(ElementTree.parse(tmp_path / "agreement.svg").getroot().itertext())
    assert "$_{$" in text
    assert "\x1b" not in text


def test_a_name_stands_for_a_list_of_one(root, tree):
    checkpoint, metric = str(root["checkpoint"].values[-1]), "gini"
    cell = {"task": "bigram", "ablation": str(root["ablation"].values[0])}
    assert len(draw.film(root, checkpoints=checkpoint, **cell).axes) == 2  # and the scale
    titles = [ax.get_title(loc="left") for ax in draw.metrics(tree, metric, **cell).axes]
    assert titles == [metric]
    handles = draw.readouts(root, tasks="bigram").legends[0].get_texts()
    assert [text.get_text() for text in handles] == ["bigram"]


@pytest.mark.parametrize(
    ("results", "message"),
    [
        (lambda root: "results.nc", "is not a result but a str"),
        (lambda root: None, "is not a result but a NoneType"),
        (lambda root: root.isel(checkpoint=slice(0)), "has no checkpoint"),
    ],
)
def test_what_cannot_be_drawn_is_told(root, results, message):
    with pytest.raises(CntbenchError, match=message):
        draw.heatmap(results(root))


def test_the_path_of_a_figure_may_be_text(root, tmp_path):
    draw.save(draw.heatmap(root.isel(task=[0], ablation=[0])), str(tmp_path / "figure.svg"))
    assert (tmp_path / "figure.svg").stat().st_size


def test_effects_are_points_with_bars_of_two_errors_largest_first(root, tree):
    ax = draw.effects(tree, task="bigram", step=64).axes[0]
    cell = root.sel(task="bigram", readout="logit_difference", checkpoint="step64")
    size = abs(cell["readout_effect"]).max("ablation").values
    order = np.argsort(-size, kind="stable")
    labels = [label.get_text().split()[0] for label in ax.get_yticklabels()]
    assert labels == [str(cell["source"].values[i]) for i in order]
    for container, ablation in zip(ax.containers, root["ablation"].values, strict=True):
        effect, error = (
            cell[name].sel(ablation=ablation).values[order].astype(float)
            for name in ("readout_effect", "readout_effect_se")
        )
        points, _, (bars,) = container
        np.testing.assert_array_equal(points.get_xdata(), effect)
        ends = np.array([segment[:, 0] for segment in bars.get_segments()])
        np.testing.assert_allclose(ends, np.stack([effect - 2 * error, effect + 2 * error], axis=1))


def test_heads_are_named_by_what_they_do(root):
    film = root.copy(deep=True)
    film["previous_token"].loc[{"source": "L0.H1"}] = 0.9
    for name in ("prefix_matching", "duplicate_token", "positional"):
        film[name][...] = film[name] * 0
    film["previous_token"].loc[{"source": ["L0.H0", "L1.H0", "L1.H1"]}] = 0.1
    film["copying"][...] = film["copying"] * 0
    labels = draw.effects(film, task="bigram").axes[0].get_yticklabels()
    assert [text for label in labels if "\n" in (text := label.get_text())] == [
        "L0.H1\nprevious-token"
    ]


def test_without_effects_the_picture_says_so(root):
    lost = root.copy(deep=True)
    lost["readout_effect"][...] = np.nan
    for name in ("effects", "circuit"):
        with pytest.raises(MissingGroupError, match="No effects on a readout were measured"):
            getattr(draw, name)(lost, task="bigram")


def test_scores_have_a_line_for_each_head_and_a_dot_at_each_onset(root):
    film = root.copy(deep=True)
    steps = film["step"].values
    film["prefix_matching"][...] = film["prefix_matching"] * 0
    film["prefix_matching"].loc[{"task": "bigram", "source": "L1.H0"}] = np.where(
        steps >= 32, 0.9, 0.1
    )
    figure = draw.scores(film, task="bigram")
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles[:2] == ["accuracy", "prefix matching"]
    assert len(titles) == 6
    place = step_axis(steps).place
    [onset] = [line for line in figure.axes[1].lines if line.get_gid() == "onset"]
    assert list(onset.get_xdata()) == [place(32)]
    drawn = lines(figure.axes[1])
    assert {"L0.H0", "L0.H1", "L1.H0", "L1.H1"} <= set(drawn)
    assert np.isnan(drawn["L1.H0"]).sum() == len(LOST)
    earlier = film.drop_vars(["duplicate_token", "positional", "copying"])
    assert len([ax for ax in draw.scores(earlier, task="bigram").axes if ax.axison]) == 3


def test_the_circuit_is_what_stands_out_and_what_joins_it(root):
    film = root.copy(deep=True)
    effect, error = film["readout_effect"], film["readout_effect_se"]
    effect[...], error[...] = effect * 0, error * 0 + 1
    at = {"task": "bigram", "readout": "logit_difference", "source": ["L0.H1", "L1.H0"]}
    effect.loc[at] = -9.0
    ax = draw.circuit(film, task="bigram").axes[0]
    assert {line.get_gid() for line in ax.lines} == {"L0.H1", "L1.H0"}
    assert len(edges(ax).get_array()) == 1
    effect[...] = effect * 0 + 0.5
    texts = [text.get_text() for text in draw.circuit(film, task="bigram").axes[0].texts]
    assert texts == ["none stands out"]
