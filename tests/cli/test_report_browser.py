"""The report in a headless browser: what is drawn, and how readers change it."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from support.browser import browser, opened
from support.comparisons import compared
from support.films import random_film
from support.results import (
    DUPLICATE,
    FAILED,
    HOSTILE,
    STEPS,
    circuits_dataset,
    comparison_dataset,
    film_with_gaps,
    whole_result,
    with_phases,
)

from cntbench.comparison.files import COMPARISON
from cntbench.comparison.leaderboard import leaderboard
from cntbench.reporting.leaderboard import write_leaderboard
from cntbench.reporting.page.write import write_films_page, write_page
from cntbench.results.storage import write_dataset

ABLATIONS = ("zero", f"mean{HOSTILE}")
LAST = len(STEPS) - 1
OVER_TIME = ("readout-figure", "head-figure", "metric-figure", "recurrence", "bump")
FIGURES = ("film", "heatmap", "effect-figure", *OVER_TIME)


@pytest.fixture(scope="module")
def root():
    return film_with_gaps(tasks=("induction", HOSTILE), ablations=ABLATIONS)


@pytest.fixture(scope="module")
def written(root, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    tree = with_phases(whole_result(root))
    tree["faithfulness"] = xr.DataTree(circuits_dataset(root))
    write_page(tree, path, name="results.nc", comparison=comparison_dataset())
    return path


@pytest.fixture(scope="module")
def started():
    with browser() as program:
        yield program


@pytest.fixture(scope="module")
def desk(started, written):
    with opened(started, written, viewport={"width": 1280, "height": 900}) as opened_page:
        yield opened_page


@pytest.fixture
def report(desk):
    """The page as it was opened; whatever a test does, nothing has gone wrong."""
    desk.page.evaluate("scrollTo(0, 0)")
    choose(desk, 0, 0)
    if desk.page.input_value("#checkpoint") != str(LAST):
        desk.page.fill("#checkpoint", str(LAST))
    desk.settle()
    yield desk
    assert not desk.wrong
    assert desk.page.evaluate("window.harmed") is None


def choose(report, task, ablation):
    """Choose a task and an ablation by number; each change draws everything anew."""
    for switch, number in (("#task", str(task)), ("#ablation", str(ablation))):
        if report.page.input_value(switch) != number:
            report.page.select_option(switch, number)


def to_checkpoint(report, number):
    report.page.fill("#checkpoint", str(number))
    report.settle()


def moment(report):
    return report.page.text_content("#moment")


def matrix(report):
    """The heat map's numbers, NaN for empty cells."""
    return np.array(report.data("heatmap")[0]["z"], dtype=float)


def expected(root, task, ablation, checkpoint):
    cell = root["influence"][task, ablation, checkpoint].values
    feasible = root["influence"].notnull().any(["task", "ablation", "checkpoint"]).values
    return cell[np.ix_(feasible.any(axis=1), feasible.any(axis=0))]


def test_every_figure_is_drawn_and_nothing_goes_wrong(report):
    for figure in FIGURES:
        assert report.page.locator(f"#{figure} svg.main-svg").count() >= 1, figure
        assert report.page.get_attribute(f"#{figure}", "aria-label"), figure
        assert report.page.locator(f"details[data-table={figure}]").count() == 1, figure


def test_the_slider_drives_film_matrix_and_the_line_in_the_trajectories(report, root):
    lines = []
    for number in (2, 6):
        to_checkpoint(report, number)
        assert moment(report) == f"step {STEPS[number]}"
        np.testing.assert_allclose(matrix(report), expected(root, 0, 0, number), rtol=1e-3)
        strongest = report.page.locator("#strongest li").first.text_content()
        assert f"{np.nanmax(expected(root, 0, 0, number)):.2f}" in strongest
        lines.append([report.layout(figure)["shapes"][0]["x0"] for figure in OVER_TIME])
    for figure, before, after in zip(OVER_TIME, *lines, strict=True):
        assert before < after, figure


def test_task_and_ablation_switch_what_is_drawn(report, root):
    for task, ablation in ((1, 0), (1, 1), (0, 1)):
        choose(report, task, ablation)
        np.testing.assert_allclose(matrix(report), expected(root, task, ablation, LAST), rtol=1e-3)
        shown = report.page.locator("#claims [data-task]:visible, #comparison [data-task]:visible")
        tasks = {item.get_attribute("data-task") for item in shown.all()}
        assert tasks == {str(task)}
    words = [item.text_content() for item in report.page.locator("#task option").all()]
    assert words == ["induction", HOSTILE]
    words = report.page.locator("[data-moment]").first.text_content()
    assert words == f"induction with {ABLATIONS[1]} ablation at step {STEPS[LAST]}"


def test_hovering_gives_numbers_with_their_standard_errors(report, root):
    text = [text for row in report.data("heatmap")[0]["text"] for text in row if text]
    cell = root.isel(task=0, ablation=0, checkpoint=LAST).sel(source="L0.H1", target="L1.MLP")
    value, error = cell["influence"].item(), cell["influence_se"].item()
    decimals = max(2, int(np.ceil(-np.log10(error))))
    assert f"L0.H1 → L1.MLP {value:.{decimals}f} ± {error:.{decimals}f}" in text
    edges = [text for trace in report.data("film") for text in trace.get("text") or []]
    assert f"L0.H1 → L1.MLP {value:.{decimals}f} ± {error:.{decimals}f}" in edges
    # And it is really shown when the pointer is there.
    report.page.locator("#heatmap").scroll_into_view_if_needed()
    box = report.page.locator("#heatmap .plot .heatmaplayer, #heatmap .heatmaplayer").first
    at = box.bounding_box()
    report.page.mouse.move(at["x"] + at["width"] * 0.1, at["y"] + at["height"] * 0.1)
    report.page.wait_for_selector("#heatmap .hoverlayer .hovertext", timeout=5000)
    assert "±" in report.page.text_content("#heatmap .hoverlayer")


def test_fewer_edges_can_be_drawn(report):
    def edges():
        return sum(
            sum(value is None for value in trace["x"])
            for trace in report.data("film")
            if trace["mode"] == "lines"
        )

    assert edges() == 9
    choices = report.page.locator("#drawn option")
    assert choices.all_text_contents() == ["all 9"]
    report.page.evaluate("document.querySelector('#drawn').add(new Option('two', 2))")
    report.page.select_option("#drawn", "2")
    assert edges() == 2
    report.page.select_option("#drawn", "9")
    assert edges() == 9


def test_gaps_are_gaps(report):
    to_checkpoint(report, FAILED)
    assert np.isnan(matrix(report)).all()
    assert any(
        "could not be measured" in item["text"] for item in report.layout("film")["annotations"]
    )
    accuracy = next(t for t in report.data("readout-figure") if t.get("name") == "induction")
    assert [i for i, y in enumerate(accuracy["y"]) if y is None] == [FAILED, DUPLICATE]
    ranks = [t for t in report.data("bump") if t["mode"] == "lines+markers"]
    assert ranks
    assert all(t["y"][FAILED] is None for t in ranks)
    # The checkpoint between the two gaps has no line to either side, and a point instead.
    assert accuracy["marker"]["size"][FAILED + 1] > 0
    assert accuracy["marker"]["size"][1] == 0


def test_keyboard_alone_reaches_and_moves_everything(report):
    report.page.focus(".skip")
    reached = []
    for _ in range(80):
        report.page.keyboard.press("Tab")
        reached.append(report.page.evaluate("document.activeElement.id"))
        if reached[-1] == "checkpoint":
            break
    assert [element for element in reached if element] == [
        "theme",
        "task",
        "ablation",
        "play",
        "checkpoint",
    ]
    outline = report.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"
    report.page.keyboard.press("ArrowLeft")
    report.settle()
    assert moment(report) == f"step {STEPS[LAST - 1]}"
    report.page.keyboard.press("Home")
    report.settle()
    assert moment(report) == "step 0"
    spoken = report.page.get_attribute("#checkpoint", "aria-valuetext")
    assert spoken == f"step 0, checkpoint 1 of {len(STEPS)}"
    for label in ("Task", "Ablation", "Checkpoint", "Edges drawn"):
        assert report.page.get_by_label(label, exact=True).count() == 1, label


def test_play_advances_to_the_end_and_stops(report):
    to_checkpoint(report, 4)
    report.page.click("#play")
    assert report.page.get_attribute("#play", "aria-label") == "Pause the film"
    report.page.wait_for_function(f"document.querySelector('#checkpoint').value == '{LAST}'")
    report.page.wait_for_function("document.querySelector('#play-word').textContent == 'Play'")
    pause_at_one = """new Promise(done => {
        const watch = () => {
            if (document.querySelector("#checkpoint").value !== "1") return setTimeout(watch, 5);
            document.querySelector("#play").click();
            return done();
        };
        document.querySelector("#play").click();
        watch();
    })"""
    report.page.evaluate(pause_at_one)  # from the beginning again
    report.page.wait_for_timeout(400)
    assert report.page.input_value("#checkpoint") == "1"
    assert report.page.get_attribute("#play", "aria-label") == "Play the film"


def test_a_point_of_a_trajectory_leads_to_its_checkpoint(report):
    click = "document.getElementById('readout-figure').emit('plotly_click', {points: [at]})"
    report.page.evaluate(f"at => {click}", {"pointIndex": 2})
    report.settle()
    assert moment(report) == "step 8"


def test_every_figure_has_its_numbers_as_a_table(report):
    for figure in FIGURES:
        report.page.locator(f"details[data-table={figure}] summary").click()
        report.page.wait_for_selector(f"#table-{figure} tbody tr", timeout=5000)
    first = report.page.locator("#table-film tbody tr").first.text_content()
    to_checkpoint(report, 1)
    assert report.page.locator("#table-film tbody tr").first.text_content() != first
    assert "±" in report.page.locator("#table-film tbody tr").first.text_content()
    assert "at step 1" in report.page.text_content("#table-metric-figure caption")


def test_phases_are_shaded_with_their_intervals(report):
    shapes = report.layout("readout-figure")["shapes"]
    boxes = [shape for shape in shapes if shape["type"] == "rect"]
    dashes = [shape["x0"] for shape in shapes if shape["line"].get("dash") == "dash"]
    np.testing.assert_allclose(dashes, np.log10([8, 64]))
    np.testing.assert_allclose([shape["x1"] for shape in boxes], np.log10([16, 128]))
    assert "3 phases" in report.page.text_content("#phase-words")
    assert "8 [1, 16]" in report.page.text_content("#phase-words")


def test_circuits_and_costs_are_drawn(report, root):
    shares = circuits_dataset(root)["faithfulness"]
    for task in range(root.sizes["task"]):
        traces = report.data(f"circuit-{task}")
        lines = [trace for trace in traces if trace["mode"] == "lines+markers"]
        shown = [line["y"] for line in lines if line["xaxis"] in ("x", "x3")]
        of_ranking = shares.isel(task=task).transpose("ranking", "ablation", "budget").values
        np.testing.assert_allclose(shown, of_ranking.reshape(-1, 2))
        assert lines[0]["x"] == [10, 50]
        assert [line["showlegend"] for line in lines[:2]] == [True, True]
        assert not any(line["showlegend"] for line in lines[2:])
        grey = [trace for trace in traces if trace["mode"] == "lines"]
        assert len(grey) == 2 * 2 + 2 * 2 * len(ABLATIONS)
        assert report.page.get_attribute(f"#circuit-{task}", "aria-label")
    passes = {x for trace in report.data("costs") for x in trace["x"]}
    assert passes == {4, 5}
    assert report.page.locator("#costs svg.main-svg").count() >= 1


def test_all_metrics_can_be_shown(report):
    before = len(report.data("metric-figure"))
    report.page.check("#all-metrics")
    assert len(report.data("metric-figure")) > before
    report.page.uncheck("#all-metrics")
    assert len(report.data("metric-figure")) == before


@pytest.fixture(scope="module")
def night(started, root, tmp_path_factory):
    """The page of a bare film, for who reads in the dark, and wants no motion."""
    path = tmp_path_factory.mktemp("bare") / "bare.html"
    write_page(xr.DataTree(root), path, name="results.nc")
    with opened(started, path, color_scheme="dark", reduced_motion="reduce") as opened_page:
        yield opened_page
        assert not opened_page.wrong


def test_a_bare_film_opens_with_what_it_has(night, root):
    assert night.page.locator("#film svg.main-svg").count() >= 1
    assert night.page.locator(".missing:visible").count() == 6
    to_checkpoint(night, 2)
    choose(night, 1, 0)
    np.testing.assert_allclose(matrix(night), expected(root, 1, 0, 2), rtol=1e-3)
    assert "per edge" in "".join(night.data("film")[-2]["customdata"])
    assert not night.wrong


def test_colours_follow_the_system_and_can_be_switched(night):
    colours = [night.layout("film")["font"]["color"]]
    assert night.page.get_attribute("html", "data-theme") == "dark"
    night.page.click("#theme")
    assert night.page.get_attribute("html", "data-theme") == "light"
    colours.append(night.layout("film")["font"]["color"])
    night.page.emulate_media(color_scheme="light", reduced_motion="reduce")
    night.page.wait_for_function("matchMedia('(prefers-color-scheme: light)').matches")
    night.page.evaluate("new Promise(requestAnimationFrame)")  # the page is told before
    night.page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    night.page.wait_for_selector("html[data-theme=dark]")
    assert colours[0] != colours[1]
    assert not night.wrong


def test_the_choice_of_a_task_spans_the_page_of_several_films(started, tmp_path):
    trees = {
        str(seed): whole_result(film_with_gaps(tasks=("induction", "bigram"), seed=seed))
        for seed in range(2)
    }
    write_films_page(trees, tmp_path / "claims.html")
    reader = started.new_context(viewport={"width": 1280, "height": 900})
    page = reader.new_page()
    page.goto((tmp_path / "claims.html").as_uri())
    left = "document.querySelector('{}').getBoundingClientRect().left"
    places = [page.evaluate(left.format(part)) for part in (".controls label", "h1", ".controls")]
    shown = [page.locator(f"[data-task='{task}']:visible").count() for task in (0, 1)]
    page.select_option("#task", "1")
    then = [page.locator(f"[data-task='{task}']:visible").count() for task in (0, 1)]
    reader.close()
    assert places[0] == places[1]
    assert places[2] == 0
    assert shown[0] == then[1] > 0
    assert shown[1] == then[0] == 0


def test_a_leaderboard_is_dark_where_the_system_is(started, tmp_path):
    write_dataset(compared({"zero": 0.8, "mean": 0.9}, [4, 5]), tmp_path / "c.nc", COMPARISON)
    write_leaderboard(leaderboard([tmp_path / "c.nc"]), tmp_path / "board.html")
    reader = started.new_context(color_scheme="dark")
    page = reader.new_page()
    page.goto((tmp_path / "board.html").as_uri())
    style = "getComputedStyle(document.querySelector('{}')).{}"
    looks = [("body", "backgroundColor"), ("body", "color"), (".drawn svg", "filter")]
    dark = [page.evaluate(style.format(*look)) for look in looks]
    page.click("#theme")
    light = [page.evaluate(style.format(*look)) for look in looks]
    reader.close()
    assert dark == ["rgb(20, 22, 26)", "rgb(236, 236, 234)", "invert(1) hue-rotate(180deg)"]
    assert light == ["rgb(253, 253, 251)", "rgb(27, 29, 33)", "none"]


def test_in_print_it_stands_still_in_light_colours(night):
    printed = night.page.evaluate("getComputedStyle(document.documentElement).scrollBehavior")
    assert printed == "auto"  # no motion for who wants none
    assert night.page.get_attribute("html", "data-theme") == "dark"
    night.page.emulate_media(media="print")
    assert not night.page.is_visible("#controls")
    assert night.page.is_visible("#film")
    night.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert night.page.get_attribute("html", "data-theme") == "light"
    assert night.layout("film")["width"] == 660
    night.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert night.page.get_attribute("html", "data-theme") == "dark"
    assert night.page.pdf(format="A4").startswith(b"%PDF")
    assert not night.wrong


def test_on_a_phone_nothing_hangs_over(started, written):
    with opened(started, written, viewport={"width": 390, "height": 800}) as opened_page:
        for figure in FIGURES:
            opened_page.page.locator(f"details[data-table={figure}] summary").click()
        assert opened_page.page.evaluate("document.documentElement.scrollWidth") == 390
        # Influence flows downwards there.
        nodes = opened_page.data("film")[-2]
        assert len(set(nodes["y"])) < len(set(nodes["x"])) + 1
        assert nodes["y"][0] > nodes["y"][-1]
        resize(opened_page, 320, 800)
        assert opened_page.page.evaluate("document.documentElement.scrollWidth") == 320
        assert not opened_page.wrong


def resize(opened_page, width, height):
    """Give the screen another size, and wait until the figures have its width."""
    before = opened_page.layout("film")["width"]
    opened_page.page.set_viewport_size({"width": width, "height": height})
    film = "document.getElementById('film')"
    opened_page.page.wait_for_function(f"{film}.layout.width !== {before}")


#: How a reader may see the page: width and height of the screen.
SCREENS = [(1280, 900), (390, 844)]
WIDTHS = """() => {
    const wide = (query) => Math.round(document.querySelector(query).getBoundingClientRect().width);
    const over = [...document.querySelectorAll("table")].filter(
        (table) => table.parentElement.getBoundingClientRect().right > innerWidth);
    return {
        page: document.documentElement.scrollWidth, screen: document.documentElement.clientWidth,
        header: wide(".page-head"), answers: wide("#answers"), claims: wide("#claims"),
        controls: wide("#controls"), over: over.length,
        lowest: Math.max(...[...document.querySelectorAll(".answer .headline")].map(
            (one) => one.getBoundingClientRect().bottom)),
    };
}"""


@pytest.fixture(scope="module")
def plain_page(tmp_path_factory):
    """A page without names that mean harm, which are long."""
    path = tmp_path_factory.mktemp("plain") / "report.html"
    tree = xr.DataTree(film_with_gaps())
    write_page(tree, path, name="results.nc", comparison=comparison_dataset())
    return path


@pytest.fixture(scope="module")
def plain(started, plain_page):
    """That page, on the first of the screens."""
    width, height = SCREENS[0]
    with opened(started, plain_page, viewport={"width": width, "height": height}) as opened_page:
        yield opened_page


@pytest.mark.parametrize(("width", "height"), SCREENS)
def test_the_first_screen_answers_at_every_size(plain, tmp_path, width, height):
    if plain.page.viewport_size["width"] != width:
        resize(plain, width, height)
    for scheme in ("light", "dark"):
        plain.page.emulate_media(color_scheme=scheme)
        plain.page.wait_for_selector(f"html[data-theme={scheme}]")
        picture = tmp_path / f"{width}-{scheme}.png"
        plain.page.screenshot(path=picture)
        assert picture.stat().st_size > 20_000  # something is on it
        widths = plain.page.evaluate(WIDTHS)
        assert widths["page"] == widths["screen"] == widths["controls"] == width
        assert widths["header"] == widths["answers"] == widths["claims"]
        assert widths["over"] == 0  # tables scroll inside themselves
        screens = 1 if width > 1000 else 2
        assert widths["lowest"] <= screens * height
    assert not plain.wrong


def test_a_small_graph_plays_when_touched_and_returns(report):
    first = report.page.locator(".moment").first
    own = first.locator(".moment-step").text_content()
    played = """button => new Promise(done => {
        const seen = new Set();
        const step = button.querySelector(".moment-step");
        new MutationObserver(() => {
            seen.add(step.textContent);
            if (!button.dataset.playing) done([...seen]);
        }).observe(button, {subtree: true, childList: true, attributes: true});
        button.click();
    })"""
    steps = first.evaluate(played)
    assert set(steps) >= {f"step {step}" for step in STEPS}
    assert first.locator(".moment-step").text_content() == own
    assert report.layout("curve")["shapes"][0]["visible"] is False


def test_the_film_of_a_large_model_is_grouped_and_drawn_at_once(started, tmp_path):
    path = tmp_path / "large.html"
    large = random_film(names=["step0", "step1"], ablations=("zero",), layers=25, heads=11)
    write_page(xr.DataTree(large), path, name="results.nc")
    times = """() => [...Array(15).keys()].map((i) => {
        cntbench.state.checkpoint = i % 2;
        const start = performance.now();
        cntbench.draw();
        return performance.now() - start;
    })"""
    with opened(started, path, viewport={"width": 1280, "height": 900}) as opened_page:
        nodes = opened_page.page.locator("#film [data-node]")
        assert nodes.count() == 50
        opened_page.page.select_option("#opened", "12")
        assert nodes.count() == 60
        circles = "all => new Set(all.map((g) => g.querySelector('circle').outerHTML)).size"
        assert nodes.evaluate_all(circles) == 60, "none lies on another"
        nodes.nth(0).click()  # the heads of the first layer
        assert opened_page.page.input_value("#opened") == "0"
        opened_page.page.locator("#film path").last.dispatch_event("pointerover", {"bubbles": True})
        assert opened_page.page.locator("#film path title").text_content().count("→") == 1
        # A machine that does other things, too, needs longer for some.
        assert np.quantile(opened_page.page.evaluate(times), 0.25) < 50
        assert not opened_page.wrong
