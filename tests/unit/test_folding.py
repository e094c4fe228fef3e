"""Tables fold where they are wider than the terminal: every cell and heading stays whole."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from cntbench.reporting.terminal import FoldingTable


def rendered(table, width: int) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=width, soft_wrap=True, color_system=None).print(table)
    return file.getvalue().splitlines()


def words(lines: list[str]) -> set[str]:
    return set(" ".join(lines).replace("─", " ").split())


def wide():
    table = FoldingTable(
        "A title of many words that is as long as two lines of a narrow terminal or three",
        text=["ablation"],
        numbers=[f"heading_number_{n}" for n in range(8)],
    )
    for name in ("zero", "resample_eap_ig_activations"):
        table.add_row(name, *(f"{n}.123456" for n in range(8)))
    return table


@pytest.mark.parametrize("width", [30, 40, 60, 80, 120, 200])
def test_no_line_is_longer_and_nothing_is_cut(width):
    lines = rendered(wide(), width)
    assert max(map(len, lines)) <= width
    text = words(lines)
    assert {f"{n}.123456" for n in range(8)} <= text
    assert not any("…" in line for line in lines)
    joined = "".join("".join(lines).split())
    assert "activations" in joined
    for n in range(8):
        assert {f"number_{n}", f"heading_number_{n}"} & text


def test_a_table_that_fits_is_one_table_with_its_headings():
    lines = rendered(wide(), 200)
    [heading] = [line for line in lines if "heading_number_0" in line]
    assert "heading_number_7" in heading
    assert sum("zero" in line for line in lines) == 1


def test_headings_end_on_one_line_and_add_no_empty_ones():
    table = FoldingTable(text=["claim"], numbers=["one_long_heading", "induction", "long_gap"])
    table.add_row("first_of_some_claims", "1 2 3", "1 2 3", "1 2 3")
    edge, *heading, line, _, _ = rendered(table, 50)
    assert not edge.strip()
    assert line.strip(" ─") == ""
    assert [text.split() for text in heading] == [
        ["one_"],
        ["long_", "long_"],
        ["claim", "heading", "induction", "gap"],
    ]


def test_the_names_of_rows_are_repeated_in_every_part():
    lines = rendered(wide(), 40)
    parts = sum("zero" in line for line in lines)
    assert parts > 1
    assert sum("activations" in line for line in lines) == parts
    for n in range(8):
        assert sum(f"{n}.123456" in line for line in lines) == 2


def test_a_cell_that_is_wider_than_the_terminal_is_broken_not_cut():
    table = FoldingTable(text=["name"], numbers=["n"])
    table.add_row("x" * 50, "1")
    lines = rendered(table, 30)
    assert max(map(len, lines)) <= 30
    assert "".join(lines).count("x") == 50 * 1


def test_texts_wrap_at_words_in_their_column():
    table = FoldingTable(text=["name"])
    table.add_column("reason", overflow="fold")
    table.add_row("a", "some words that do not fit into one line of the column")
    lines = rendered(table, 30)
    assert max(map(len, lines)) <= 30
    assert {"some", "words", "column"} <= words(lines)
    assert sum(" a " in line for line in lines) == 1
