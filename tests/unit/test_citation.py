"""CITATION.cff is what its format asks for, and speaks of this version."""

from __future__ import annotations

import tomllib

import yaml
from support.documents import ROOT

import cntbench

REQUIRED = {"cff-version", "message", "title", "authors"}
REQUIRED_OF_REFERENCES = {"type", "title", "authors"}


def test_the_citation_has_what_the_format_requires_and_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert set(citation) >= REQUIRED
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == cntbench.__version__
    about = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert (citation["version"], citation["license"]) == (about["version"], about["license"])
    assert citation["keywords"] == about["keywords"]
    (study,) = citation["references"]
    assert set(study) >= REQUIRED_OF_REFERENCES
    assert study["url"] == "https://arxiv.org/abs/2509.15269"
    for author in citation["authors"] + study["authors"]:
        assert author["name"]
