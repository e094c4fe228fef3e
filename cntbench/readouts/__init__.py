"""Readouts: numbers about the model's behaviour on a task, one file each.

A file's name is the readout's. It defines ``UNIT``, ``BETTER`` (1 if a larger value is better, -1
if a smaller one), ``READS`` (which shared quantities of `cntbench.readouts._base.Scored` it uses),
``value`` at all positions, ``reference`` (the plain definition at one position, which the tests
compare it with), and ``gradient`` if gradient estimators may estimate effects on it. If it reads
``"divergence"``, ``reference`` takes the clean run's logits as a fourth argument. ``over_answer``
says how values at the tokens of one answer are combined, dims ``…, scored``, if not by their sum.
"""

from __future__ import annotations

from collections.abc import Iterable

from cntbench import plugins

#: The readouts of the clean model on every task, in the order of the dataset.
STANDARD = ("cross_entropy", "accuracy", "logit_difference")


def known_readouts() -> tuple[str, ...]:
    """Return all readouts: the standard ones, then those that a task may name, by name."""
    return (*STANDARD, *sorted(plugins.room("readout").keys() - set(STANDARD)))


def measured(effects: Iterable[str]) -> tuple[str, ...]:
    """Return the readouts to measure beside these effects, in the order of the dataset."""
    chosen = {*STANDARD, *effects}
    return tuple(name for name in known_readouts() if name in chosen)
