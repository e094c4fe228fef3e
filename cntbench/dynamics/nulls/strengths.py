"""Strengths kept, everything else randomised within layer pairs.

Keeps, at every checkpoint, how much each component sends to every layer and receives from every
layer, and with them its in- and out-strength. Draws the rest uniformly from all weights, none of
them negative, that have these sums. Asks: is this structure between components more than what their
strengths alone bring about?

In the block of weights from one layer to another, moves along rectangles leave all row and column
sums as they are: w_ij and w_kl grow by d, w_il and w_kj shrink by it, with d uniform over what
leaves all four weights at 0 or more. In a sweep, rows and columns are paired off at random, and
every pair of rows with every pair of columns makes one move. Sums are kept up to rounding. A
rectangle with an edge that is not feasible or undefined makes no move.

Source: Diaconis & Gangolli 1995, "Rectangular arrays with fixed margins" (the Markov chain); for
its use as a null model Besag & Clifford 1989, "Generalized Monte Carlo significance tests".
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from cntbench.dynamics.film import Array, Film
from cntbench.dynamics.nulls._draws import copies, layer_pair

#: Sweeps from the start to a draw; ``tests/property/test_strengths_mixing.py`` shows they suffice.
SWEEPS = 128


def draw(film: Film, rng: np.random.Generator, size: int | None = None) -> Array:
    """Return weights with the same sums, from a chain of its own for every draw."""
    drawn = copies(film, size)
    for rows, columns in _blocks(film):
        # Edges of the block first, so that a pair of rows is a matter of whole lines of memory.
        block = np.moveaxis(drawn[..., rows[..., None], columns[:, None, :]], (-2, -1), (0, 1))
        mixed = sweep(independent(block), rng, SWEEPS)
        drawn[..., rows[..., None], columns[:, None, :]] = np.moveaxis(mixed, (0, 1), (-2, -1))
    return drawn


def independent(block: Array) -> Array:
    """Return the tables with the same sums in which rows and columns are independent.

    Parameters
    ----------
    block
        Weights, dims ``row, column, …``; blocks with an undefined weight stay as they are.
    """
    row, column = block.sum(axis=1, keepdims=True), block.sum(axis=0, keepdims=True)
    total = row.sum(axis=0, keepdims=True)
    share = np.divide(column, total, out=np.zeros_like(column), where=total != 0)
    return np.where(np.isnan(total), block, row * share)


def sweep(block: Array, rng: np.random.Generator, sweeps: int) -> Array:
    """Make moves along rectangles, in place.

    Parameters
    ----------
    block
        Weights of independent chains, dims ``row, column, …``.
    rng
        Source of chance.
    sweeps
        How often rows and columns are paired off; the pairs are the same for all chains.
    """
    rows, columns = block.shape[0] // 2, block.shape[1] // 2
    gaps = bool(np.isnan(block).any())
    for _ in range(sweeps if rows and columns else 0):
        row, column = rng.permutation(block.shape[0]), rng.permutation(block.shape[1])
        above, below = row[:rows, None], row[rows : 2 * rows, None]
        left, right = column[:columns], column[columns : 2 * columns]
        a, b = block[above, left], block[above, right]
        c, d = block[below, left], block[below, right]
        least = np.minimum(a, d)
        change = rng.random(a.shape)
        change *= least + np.minimum(b, c)
        change -= least
        if gaps:
            change[np.isnan(change)] = 0
        block[above, left] = a + change
        block[above, right] = b - change
        block[below, left] = c - change
        block[below, right] = d + change
    return np.maximum(block, 0, out=block)  # rounding may leave -1e-17


def _blocks(film: Film) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield sources and targets of all layer pairs of one shape, dims ``pair, component``."""
    pair = layer_pair(film)
    found: dict[tuple[int, int], list[tuple[NDArray[np.int64], NDArray[np.int64]]]] = {}
    for number in np.unique(pair[pair >= 0]):
        rows, columns = (np.flatnonzero((pair == number).any(axis=axis)) for axis in (1, 0))
        found.setdefault((len(rows), len(columns)), []).append((rows, columns))
    for blocks in found.values():
        yield np.stack([rows for rows, _ in blocks]), np.stack([columns for _, columns in blocks])
