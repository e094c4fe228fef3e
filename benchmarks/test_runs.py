"""Ratios of several runs are told as ranges, with the machines and their load."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.runs import Run, ranges, record, recorded


def test_runs_of_several_days_are_told_as_ranges(tmp_path):
    first = Run.here("W", "plain", clock="processor", seconds=2.0, ratio=5.0)
    assert first.processor
    assert first.load >= 0
    others = [
        replace(first, ratio=7.5, seconds=1.5, load=first.load + 2),
        replace(first, ratio=6.0, processor="another", day="2026-01-01", load=0.5),
        replace(first, contender="engine", ratio=1.0),
    ]
    record([first], tmp_path / "a")
    record(others[:1], tmp_path / "a")
    record(others[1:], tmp_path / "b")
    runs = recorded([tmp_path / "a", tmp_path / "b"])
    assert runs == [first, *others]
    plain, engine, here, there = ranges(runs)
    assert "plain" in plain
    assert "5.00 to   7.50 x in 3 runs" in plain
    assert "1.500 s and more" in plain
    assert "1.00 to   1.00 x in 1 runs" in engine
    assert f"load {first.load:.1f} to {first.load + 2:.1f}" in here
    assert there.startswith("another")
    assert there.endswith("2026-01-01: load 0.5 to 0.5")
