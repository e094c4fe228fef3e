"""Every sentence of the page and the terminal about a result: questions of a reader and answers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """One of several short answers.

    Parameters
    ----------
    text
        In a few words.
    verdicts
        Those of ``supported``, ``not supported`` and ``inconclusive`` whose signs it has.
    section
        The id of the part of the page that has the numbers; empty if there is none.
    """

    text: str
    verdicts: tuple[str, ...] = ()
    section: str = ""


@dataclass(frozen=True)
class Answer:
    """A question and its answer.

    Parameters
    ----------
    question
        In a reader's words.
    section
        The id and the title of the section of the page that has the numbers.
    headline
        The answer in one sentence.
    note
        What limits it, beside it; empty if nothing does.
    source
        The paper that it is about, as ``arXiv:2509.15269``; empty if there is none.
    lines
        The parts of the answer, each with its own.
    points
        Details, as a list.
    sentences
        Remarks below the list.
    """

    question: str
    section: tuple[str, str]
    headline: str
    note: str = ""
    source: str = ""
    lines: tuple[Line, ...] = ()
    points: tuple[str, ...] = ()
    sentences: tuple[str, ...] = ()
