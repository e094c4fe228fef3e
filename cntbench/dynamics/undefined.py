"""What is raised where a film does not answer a question: no mistake, but a reason to be told."""

from __future__ import annotations


class Undefined(Exception):  # noqa: N818 - not an error: the film does not answer the question
    """A statistic has no value on a film; the message says why."""
