"""Estimators of a folder of one's own, and what is said of those that are wrong."""

from __future__ import annotations

import numpy as np
import pytest
from support.models import decoder, random_gpt_neox, random_prompts

from cntbench.ablations.ablation import Ablation
from cntbench.ablations.replacements import zero
from cntbench.engine.influence import influence
from cntbench.engine.request import Request
from cntbench.errors import PluginError
from cntbench.plugins.folders import using

MINE = '''"""EAP, changed."""

OBSERVES = ("readout",)
USES = ("gradient",)


def estimate(edges):
    for targets, gradients in edges.gradients():
        found = edges.along(targets, gradients)
        yield found._replace(values={})
'''
MODEL = decoder(random_gpt_neox())


def estimated(folder, values: str) -> np.ndarray:
    """What an estimator says whose values are an expression of EAP's."""
    path = folder / "estimators" / "mine.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(MINE.format(values))
    return effects(folder, "mine")


def effects(folder, name: str) -> np.ndarray:
    """The effect of every edge by an estimator."""
    with using([folder]):
        method = Ablation("a", zero.Parameters(), None, "direct", "readout", estimator=name)
        return influence(Request(MODEL, random_prompts(), [method])).edge_effect[0]


def test_an_estimator_of_ones_own_is_used(tmp_path):
    twice = estimated(tmp_path, "2 * found.values")
    np.testing.assert_array_equal(twice, 2 * effects(tmp_path, "eap"))


@pytest.mark.parametrize(
    ("values", "what", "allowed"),
    [
        ("found.values * float('nan')", "yields nan for the edge L0.H0 → L1.H0", "finite number"),
        ("found.values / 0", "inf for the edge L0.H0 → L1.H0", "finite number"),
        ("found.values[:1]", r"of shape \(1, 3, 3\) for 3 sources and 3 targets on 3", "here (3, "),
        ("found.values.mean()", r"of shape \(\) for 3 sources", "dims source, target, prompt"),
    ],
)
def test_numbers_that_are_none_are_refused(tmp_path, values, what, allowed):
    with pytest.raises(PluginError, match=f"estimator 'mine' of ablation 'a' .*{what}") as caught:
        estimated(tmp_path, values)
    assert allowed in caught.value.hint
    assert caught.value.where == str(tmp_path / "estimators" / "mine.py")


@pytest.mark.parametrize(
    ("written", "message"),
    [("return", "range"), ("yield (0,) #", "tuple"), ("return None #", "NoneType")],
)
def test_what_is_no_estimate_is_refused(tmp_path, written, message):
    path = tmp_path / "estimators" / "mine.py"
    path.parent.mkdir()
    path.write_text(MINE.format("found.values").replace("yield", written))
    with pytest.raises(PluginError, match=f"estimator 'mine' of ablation 'a' yields {message}"):
        effects(tmp_path, "mine")


def test_edges_that_are_left_out_are_refused(tmp_path):
    path = tmp_path / "estimators" / "mine.py"
    path.parent.mkdir()
    path.write_text(MINE.format("found.values").replace("yield", "0 and (yield)  #"))
    with pytest.raises(PluginError, match="yields no value for the edge L0"):
        effects(tmp_path, "mine")
