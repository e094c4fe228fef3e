"""A question that readers have, and what the result says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """A question and what the result says.

    Parameters
    ----------
    question
        As a reader would ask it.
    headline
        The answer in one sentence.
    sentences
        What it rests on.
    points
        The same, thing by thing.
    section
        Where the numbers are, and what that part of the page is called.
    """

    question: str
    section: tuple[str, str]
    headline: str
    sentences: tuple[str, ...] = ()
    points: tuple[str, ...] = ()
