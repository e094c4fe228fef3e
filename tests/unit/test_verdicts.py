"""Phases and claims in result files: where they stand, what they depend on, how files pool."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
import xarray as xr
from support.films import random_film
from support.runs import quiet

from cntbench.analysis.calibration.simulated import phased, planted, template
from cntbench.analysis.derived import NullDraws
from cntbench.analysis.intervals import t_interval
from cntbench.analysis.pooling import pool_tests
from cntbench.analysis.verdicts import add_verdicts, verdicts
from cntbench.comparison.claims import file_judgements, pooled_judgements
from cntbench.dynamics.claims import ClaimTestResult
from cntbench.dynamics.film import Film
from cntbench.dynamics.phases import Phases
from cntbench.dynamics.trajectory import FEATURES
from cntbench.dynamics.verdicts import CellVerdicts, phase_group
from cntbench.errors import CntbenchError
from cntbench.readouts import STANDARD
from cntbench.results.storage import distinct_files, open_results, write_results
from cntbench.results.tree import content_checksum
from cntbench.runs.catalogue import load_catalogue

CLAIMS = load_catalogue().some_claims()
#: Claims that are pooled over files.
POOLED = load_catalogue().some_claims(
    ["three_phases", "gatherers_less_stable", "spreader_hierarchy"]
)
#: As many as verdicts need, and as many as anything else needs.
DRAWS, FEW = 139, 19


random_films = cache(random_film)


def result(film: Film, *, seed: int = 0, tasks=("induction",), ablations=("zero",)) -> xr.Dataset:
    """A result whose every cell is a film."""
    names = tuple(f"step{step}" for step in film.step)
    given = {"names": names, "tasks": tasks, "ablations": ablations, "seed": seed}
    root = random_films(**given, layers=3, heads=3).copy(deep=True)
    for name, values in (("influence", film.weights), ("influence_se", film.errors)):
        root[name].values[:] = values
    for name, readouts in (("readout_value", film.readouts), ("readout_se", film.readout_errors)):
        root[name].values[:] = readouts
    return root


def planted_film(seed: int = 0, checkpoints: int = 48) -> Film:
    base = template(layers=3, heads=3, checkpoints=checkpoints)
    return planted(np.random.default_rng(seed), base=base, duration=8).film


def write(folder: Path, root: xr.Dataset, name: str = "results.nc") -> Path:
    path = folder / name
    write_results(xr.DataTree(root), path)
    return path


def add(path: Path, claims=CLAIMS, draws: int = FEW) -> xr.DataTree:
    return add_verdicts(path, claims, draws=draws, jobs=1, progress=quiet)


def test_the_groups_are_in_the_file_and_the_rest_is_as_it_was(tmp_path):
    root = result(planted_film())
    path = tmp_path / "results.nc"
    metrics = xr.Dataset({"gini": root["influence"].mean(["source", "target"])})
    metrics = metrics.drop_vars(list(metrics.coords))
    write_results(xr.DataTree.from_dict({"/": root, "/metrics": metrics}), path)
    before = open_results(path)
    tree = add(path, draws=DRAWS)
    after = open_results(path)
    assert set(after.children) == {"metrics", "phases", "claims"}
    assert content_checksum(after) == content_checksum(tree)
    xr.testing.assert_identical(after.to_dataset(inherit=False), before.to_dataset(inherit=False))
    xr.testing.assert_identical(
        after["metrics"].to_dataset(inherit=False), before["metrics"].to_dataset(inherit=False)
    )
    claims = after["claims"].to_dataset()
    cell = claims.sel(task="induction", ablation="zero", claim="gatherers_reconfigure")
    assert cell["verdict"] == "supported"
    assert cell["reason"] == ""
    assert cell["checkpoints"] == 48
    assert list(claims["claim_text"].values) == [c.spec.text for c in CLAIMS]


def test_asking_again_changes_nothing(tmp_path, monkeypatch):
    path = write(tmp_path, result(planted_film()))
    add(path, CLAIMS[:2])
    once = content_checksum(open_results(path))
    monkeypatch.setattr(
        "cntbench.analysis.verdicts.VerdictPart.work", None
    )  # nothing is worked out again
    add(path, CLAIMS[:2])
    assert content_checksum(open_results(path)) == once
    assert [other.name for other in tmp_path.iterdir()] == ["results.nc"]


def test_other_numbers_specs_or_draws_are_worked_out_anew(tmp_path):
    root = result(planted_film())
    path = write(tmp_path, root)
    first = add(path, CLAIMS[:3])["claims"].to_dataset()
    fewer = add(path, CLAIMS[:2])["claims"].to_dataset()
    xr.testing.assert_identical(first.drop_attrs(deep=False), fewer.drop_attrs(deep=False))
    again = add(path, CLAIMS[:3])["claims"].to_dataset()
    xr.testing.assert_identical(first, again)
    more = add(path, CLAIMS[:2], draws=FEW + 20)
    assert more["claims"].attrs["draws"] == FEW + 20


def test_a_claim_leaves_the_verdicts_on_others_and_all_are_corrected_together(tmp_path):
    root = result(planted_film())
    whole = write(tmp_path, root, "whole.nc")
    expected = add(whole, CLAIMS[:3], DRAWS)["claims"].to_dataset()
    apart = write(tmp_path, root, "apart.nc")
    for number in (2, 0, 1):
        dataset = add(apart, CLAIMS[number : number + 1], DRAWS)["claims"].to_dataset()
    assert [str(name) for name in dataset["claim"].values[:2]] == [CLAIMS[2].name, CLAIMS[0].name]
    names = [claim.name for claim in CLAIMS[:3]]
    ordered = open_results(apart)["claims"].to_dataset().sel(claim=names)
    xr.testing.assert_equal(ordered, expected)
    assert (ordered["claim_draws"] == DRAWS).all()


def test_what_was_tested_by_fewer_draws_says_so_beside_the_rest(tmp_path):
    path = write(tmp_path, result(planted_film()))
    add(path, CLAIMS[:1])
    tree = add(path, CLAIMS[1:2], draws=FEW + 20)["claims"]
    assert list(tree["claim_draws"].values) == [FEW, FEW + 20]


def test_verdicts_on_another_film_do_not_stay():
    draws = NullDraws(0, 19, 1, quiet)
    root = result(planted_film())
    tree = xr.DataTree.from_dict({"/": root, **verdicts(root, None, CLAIMS[:2], draws)})
    other = result(planted_film(seed=1))
    groups = verdicts(other, None, CLAIMS[1:3], draws, earlier=tree)
    assert list(groups["claims"]["claim"].values) == [claim.name for claim in CLAIMS[1:3]]


def test_processes_and_neighbouring_cells_change_nothing():
    film = planted_film()
    draws = NullDraws(3, 19, 1, quiet)
    root = result(film, tasks=("induction", "bigram"), ablations=("zero", "mean"))
    two = verdicts(root, None, CLAIMS, replace(draws, jobs=2))
    part = verdicts(root.isel(task=[1]), None, CLAIMS, draws)
    at = {"task": [1]}
    for name in ("phases", "claims"):
        xr.testing.assert_equal(two[name].isel(at), part[name])


def test_films_that_are_pooled_have_draws_of_their_own():
    """Films of several seeds share the seed of their prompts."""
    claims = load_catalogue().some_claims(["long_tailed_weights"])

    def found(revision):
        root = result(planted_film(checkpoints=3))
        root["revision"].values[:] = [f"{revision}{step}" for step in root["step"].values]
        group = verdicts(root, None, claims, NullDraws(0, 19, 1, quiet))["claims"]
        return group["test_null"].values, group["test_value"].values

    first, again, other = (found(revision) for revision in ("a", "a", "b"))
    for item, same in zip(first, again, strict=True):
        np.testing.assert_array_equal(item, same)
    np.testing.assert_array_equal(first[1], other[1])
    assert (first[0] != other[0]).all()
    assert not np.isnan(first[0]).any()


def test_checkpoints_that_do_not_count_are_stepped_over():
    film = planted_film(checkpoints=60)
    root = result(film)
    bad = [5, 30, 31]
    root["status"].values[:, :, bad] = "failed"
    root["influence"].values[:, :, bad] = np.nan
    kept = np.setdiff1d(np.arange(60), bad)
    draws = NullDraws(0, 19, 1, quiet)
    whole = verdicts(root, None, CLAIMS, draws)
    without = verdicts(root.isel(checkpoint=kept), None, CLAIMS, draws)
    xr.testing.assert_equal(whole["claims"], without["claims"])
    assert whole["claims"]["checkpoints"].item() == 57
    for name in ("boundary_step", "boundary_lower", "boundary_upper", "readout_step"):
        assert np.isfinite(whole["phases"][name]).any()
        np.testing.assert_array_equal(whole["phases"][name], without["phases"][name])
    trajectory = whole["phases"]["trajectory"]
    assert trajectory.isel(checkpoint=bad).isnull().all()
    np.testing.assert_array_equal(trajectory.isel(checkpoint=kept), without["phases"]["trajectory"])


def test_phases_are_labelled_by_steps():
    base = template(layers=3, heads=3, checkpoints=143)
    film = phased(np.random.default_rng(5), base=base)
    root = result(film)
    phases = verdicts(root, None, CLAIMS[:1], NullDraws(0, 39, 1, quiet))["phases"]
    cell = phases.isel(task=0, ablation=0)
    assert cell["count"] == 3
    steps = cell["boundary_step"].values
    assert np.isfinite(steps[:2]).all()
    assert np.isnan(steps[2:]).all()
    assert set(steps[:2]) <= set(film.step)
    assert (cell["boundary_lower"] <= cell["boundary_step"]).values[:2].all()
    assert list(cell["phase_name"].values[3:]) == ["", ""]
    assert list(phases["feature"].values) == list(FEATURES)
    assert cell["readout_distance"].dims == ("readout", "boundary")
    assert cell.sizes["readout"] == len(STANDARD)


def test_numbers_of_phases_stand_at_their_steps_and_under_their_names():
    root, rng = result(planted_film()), np.random.default_rng(0)
    usable = np.delete(np.arange(48), 3)
    step = root["step"].values[usable]
    steps = {"lower": np.array([4, 10]), "step": np.array([6, 12]), "upper": np.array([8, 14])}
    features, gaps, moved = rng.random((47, len(FEATURES))), rng.random((6, 3)), rng.random((3, 2))
    phases = Phases(
        steps["step"], steps["lower"], steps["upper"], ("a", "", "c"), np.ones(2), 0.01, features
    )
    alignment = {"readout_step": rng.random(3), "readout_distance": moved}
    part = CellVerdicts((0, 0), step, usable, phases, alignment, gaps, (), ())
    cell = phase_group(root, [part]).isel(task=0, ablation=0)
    assert (cell["count"], cell["p_value"]) == (3, 0.01)
    assert cell["phase_name"].values.tolist() == ["a", "", "c", "", ""]
    assert cell["advantage"].values[:2].tolist() == [1, 1]
    for name, at in steps.items():
        np.testing.assert_array_equal(cell[f"boundary_{name}"].values[:2], step[at])
        assert np.isnan(cell[f"boundary_{name}"].values[2:]).all()
    np.testing.assert_array_equal(cell["trajectory"].values[usable], features)
    assert np.isnan(cell["trajectory"].values[3]).all()
    for number, name in enumerate(("", "_lower", "_upper")):
        np.testing.assert_array_equal(cell[f"stability_gap{name}"], gaps[:, number])
    np.testing.assert_array_equal(cell["readout_step"], alignment["readout_step"])
    np.testing.assert_array_equal(cell["readout_distance"].values[:, :2], moved)


def test_a_file_without_measured_checkpoints_is_refused(tmp_path):
    root = result(planted_film(checkpoints=3))
    root["status"].values[:] = "failed"
    with pytest.raises(CntbenchError, match="has no checkpoint that was measured"):
        add(write(tmp_path, root))


def test_a_file_cannot_count_twice(tmp_path):
    path = write(tmp_path, result(planted_film(checkpoints=3)))
    assert distinct_files([path, tmp_path / "other.nc"]) == [path, tmp_path / "other.nc"]
    with pytest.raises(CntbenchError, match="appears twice"):
        distinct_files([path, tmp_path / "." / "results.nc"])


@pytest.fixture(scope="module")
def three(tmp_path_factory) -> list[xr.Dataset]:
    """The claims of three seeds, the third of which has another ablation too, and is too short."""
    folder = tmp_path_factory.mktemp("seeds")
    roots = [result(planted_film(0)), result(planted_film(1))]
    roots.append(result(planted_film(2, checkpoints=30), ablations=("zero", "mean")))
    paths = [write(folder, root, f"{place}.nc") for place, root in enumerate(roots)]
    return [add(path, POOLED, DRAWS)["claims"].to_dataset(inherit=True) for path in paths]


def test_files_are_pooled_by_mean_effect_and_combined_p_value(three):
    pooled = {(p.ablation, p.claim): p for p in pooled_judgements(three, POOLED)}
    pool = pooled["zero", "gatherers_less_stable"]
    singles = [
        next(p for p in file_judgements(g) if (p.ablation, p.claim) == ("zero", pool.claim))
        for g in three
    ]
    assert pool.file_verdicts == tuple(p.verdict.label for p in singles)
    for place, test in enumerate(pool.results):
        effects = [p.results[place].effect for p in singles]
        mean, lower, upper = t_interval(effects)
        assert test.effect == pytest.approx(mean)
        assert (test.lower, test.upper) == (pytest.approx(lower), pytest.approx(upper))
        assert test.p_value < min(p.results[place].p_value for p in singles)
    assert len(pool.effects) == 3


def test_a_file_that_does_not_answer_takes_no_part(three):
    pooled = {(p.ablation, p.claim): p for p in pooled_judgements(three, POOLED)}
    phases = pooled["zero", "three_phases"]
    assert len(phases.effects) == 2
    assert len(phases.file_verdicts) == 3
    assert phases.file_verdicts[2] == "inconclusive"
    short = pooled["mean", "three_phases"]
    assert short.verdict.label == "inconclusive"
    assert short.verdict.reason == "needs 40 checkpoints, has 30"
    assert len(short.file_verdicts) == 1


def test_one_file_keeps_its_own_verdicts(three):
    for one, other in zip(
        file_judgements(three[0]), pooled_judgements(three[:1], POOLED), strict=True
    ):
        assert one.verdict.label == other.verdict.label
        assert one.verdict.reason == other.verdict.reason
        assert repr(one.results) == repr(other.results)  # NaN included


def test_what_one_file_alone_has_keeps_its_own_verdict(three):
    """The rule for several films would ask for more than chance in a few of them."""
    alone = three[0].assign_coords(ablation=["mean"])
    for groups in ([alone, three[1]], [three[1], alone]):
        pooled = {p.claim: p for p in pooled_judgements(groups, POOLED) if p.ablation == "mean"}
        for own in file_judgements(alone):
            assert repr(pooled[own.claim]) == repr(own)


@pytest.mark.parametrize("scatter", [0.0, 1.0])
@pytest.mark.parametrize(("films", "minimum"), [(2, 1.0), (4, 1.0), (10, 1.0), (30, 0.5)])
def test_the_pooled_power_is_how_often_a_combined_p_value_is_small(films, minimum, scatter):
    """Films with the smallest effect that counts, in the mean; errors and null spread are 1."""
    rng, normal, draws = np.random.default_rng(0), NormalDist(), 199

    def film():
        null = rng.standard_normal(draws)
        value = minimum + scatter * rng.standard_normal() + rng.standard_normal()
        effect = value - null.mean()
        needed = np.sort(null)[-10] - null.mean()  # p-value 10 / 200
        return ClaimTestResult(
            value=value,
            null=null.mean(),
            lower=effect - normal.inv_cdf(0.975),
            upper=effect + normal.inv_cdf(0.975),
            p_value=(1 + (null >= value).sum()) / (1 + draws),
            mid_p_value=(0.5 + (null >= value).sum()) / (1 + draws),
            power=normal.cdf(minimum - needed),
            detectable=needed + normal.inv_cdf(0.8),
            least=1 / (1 + draws),
        )

    pooled = [pool_tests([film() for _ in range(films)], minimum) for _ in range(150)]
    share = np.mean([test.p_value <= 0.05 for test in pooled])
    assert np.mean([test.power for test in pooled]) == pytest.approx(share, abs=0.12)


def test_a_p_value_of_one_does_not_outweigh_all_others(three):
    certain = [group.copy(deep=True) for group in three[:2]]
    certain[0]["test_p_value"].values[:] = 1.0
    certain[0]["test_mid_p_value"].values[:] = 1 - certain[0]["test_least"].values / 2
    certain[1]["test_p_value"].values[:] = certain[1]["test_least"].values[:] = 1e-6
    certain[1]["test_mid_p_value"].values[:] = 1e-6 / 2
    pooled = {p.claim: p for p in pooled_judgements(certain, POOLED)}
    assert 0 < pooled["spreader_hierarchy"].verdict.p_value < 0.5
