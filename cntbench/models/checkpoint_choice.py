"""A choice of checkpoints: ``1200``, ``1000:5000:1000``, ``count=8``, alone or in a list.

Items are separated by commas. Each is one of

- a checkpoint, by its name or its step: ``1200``, ``step1200`` and ``checkpoint-1200`` all mean the
  one at step 1200, regardless of its name; one with a stage (``stage2-step1200``) only by its name,
  since stages count their steps each from 0;
- a range ``first:last`` by names or steps, both ends included; either may be omitted;
- a range ``first:last:step``: every ``step``-th training step, counted from the first;
- ``count=N`` or ``first:last:count=N``: N checkpoints of the range, evenly spaced, with its ends;
  all of them if there are fewer.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from cntbench.errors import CheckpointError, CntbenchError
from cntbench.files.parsing import split_names
from cntbench.models.stages import place_of
from cntbench.models.steps import named_step

_EXPECTED = {
    "checkpoint": "Write a checkpoint (1200, step1200), a range (1000:5000, 1000:5000:1000 for "
    "every thousandth step), or how many (count=8), separated by commas.",
    "layer": "Write a layer (3), or a range with both its ends (0:5), separated by commas.",
}
_COUNT = re.compile(r"count=([1-9][0-9]{0,8})")
_STRIDE = re.compile(r"[1-9][0-9]{0,18}")


class ChoiceError(CntbenchError):
    """A choice of checkpoints or layers that is malformed or selects none."""


@contextmanager
def chosen_by(where: str) -> Iterator[None]:
    """Add to errors about a choice where it was made, such as ``--checkpoints``."""
    try:
        yield
    except ChoiceError as error:
        raise ChoiceError(error.what, where=where, hint=error.hint) from None


def choose(
    text: str,
    names: Sequence[str],
    steps: Sequence[int],
    *,
    where: str = "",
    noun: str = "checkpoint",
) -> list[int]:
    """Return the ascending indices of the chosen checkpoints or layers.

    Raises a `ChoiceError` if an item is malformed, there is no such checkpoint, or a range of
    layers does not end at one.

    Parameters
    ----------
    text
        The choice; empty for all.
    names, steps
        Of the checkpoints, by rising step.
    where, noun
        Origin of the choice, and what is chosen, for errors.

    Examples
    --------
    >>> choose("step0,8:", ["a", "b", "c"], [0, 8, 100])
    [0, 1, 2]
    """
    if not text.strip():
        return list(range(len(names)))
    chosen: set[int] = set()
    for item in split_names(text, frozenset(names).__contains__):
        try:
            indices = _items(item, list(names), list(steps), noun)
        except ChoiceError as error:
            hint = error.hint
            if noun == "layer":
                hint = f"{hint} The model has the layers {steps[0]} to {steps[-1]}."
            raise ChoiceError(error.what, where=where or None, hint=hint) from None
        chosen |= set(indices)
    return sorted(chosen)


def find(label: str, names: Sequence[str], steps: Sequence[int]) -> int | None:
    """Return the index of a checkpoint by its name or its step, or None if there is none."""
    if label in names:
        return list(names).index(label)
    step = _step(label)
    return list(steps).index(step) if step is not None and step in steps else None


def _items(item: str, names: list[str], steps: list[int], noun: str) -> list[int]:
    """Return the indices that one item chooses."""
    if item in names or (":" not in item and not item.startswith("count=")):
        index = find(item, names, steps)
        if index is None:
            close = difflib.get_close_matches(item, names, n=1)
            guess = f"Did you mean {close[0]!r}? " if close else ""
            hint = f"{guess}{_EXPECTED[noun]}" if _step(item) is None else _nearest(item, steps)
            raise ChoiceError(f"there is no {noun} {item!r}", hint=hint)
        return [index]
    parts = item.split(":") if ":" in item else ["", "", item]
    if len(parts) > 3:
        raise _refused(item, noun)
    first, last, spacing = [*parts, ""][:3]
    low, high = _end(first, names, steps, steps[0]), _end(last, names, steps, steps[-1])
    if low is None or high is None:
        raise _refused(item, noun)
    for end in (low, high) if noun == "layer" else ():
        if end not in steps:
            raise ChoiceError(f"there is no layer {end}", hint=_nearest(str(end), steps))
    if first and last and low > high:
        turned = ":".join([last, first, *parts[2:]])
        raise ChoiceError(f"{item!r} begins after its end", hint=f"Write {turned}.")
    within = [index for index, step in enumerate(steps) if low <= step <= high]
    if match := _COUNT.fullmatch(spacing):
        if not within:
            raise ChoiceError(f"no {noun} is in {item!r}", hint=_nearest(item, steps))
        places = np.linspace(0, len(within) - 1, min(int(match[1]), len(within)))
        return [within[i] for i in np.unique(places.round().astype(int))]
    if spacing and not _STRIDE.fullmatch(spacing):
        raise _refused(item, noun)
    stride = int(spacing or 1)
    indices = [index for index in within if (steps[index] - low) % stride == 0]
    if not indices:
        raise ChoiceError(f"no {noun} is in {item!r}", hint=_nearest(item, steps))
    return indices


def _end(label: str, names: list[str], steps: list[int], omitted: int) -> int | None:
    """Return the step at an end of a range, where there need not be a checkpoint."""
    if not label:
        return omitted
    return steps[names.index(label)] if label in names else _step(label)


def _step(label: str) -> int | None:
    """Return the step in a label, if it has one and no stage, from whose start it would count."""
    try:
        named = named_step(label, where="")
    except CheckpointError:
        return None
    return None if named is None or place_of(named).stage is not None else named.step


def _refused(item: str, noun: str) -> ChoiceError:
    return ChoiceError(f"{item!r} is not a choice of {noun}s", hint=_EXPECTED[noun])


def _nearest(item: str, steps: Sequence[int]) -> str:
    """Return a hint with the steps nearest to the first one in an item, which has one."""
    step = next(s for part in item.split(":") if (s := _step(part)) is not None)
    close = sorted(sorted(steps, key=lambda other: abs(other - step))[:2])
    return f"Nearest: {', '.join(map(str, close))}."
