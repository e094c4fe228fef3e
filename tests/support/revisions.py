"""Revisions of a repository as a trajectory lists them."""

from __future__ import annotations

from collections.abc import Iterable

from cntbench.models.hub.revisions import Revision, in_order, named_steps


def parse(text: str, *, where: str, present: Iterable[str] = ()) -> tuple[Revision, ...]:
    """Return the revisions that a text lists, of a repository that has those ``present``."""
    steps = named_steps(text, where=where, present=present)
    return in_order(steps, where=where, present=present)
