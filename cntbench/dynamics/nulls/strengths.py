"""Strengths kept, everything else randomised within layer pairs.

Keeps, at every checkpoint, how much each component sends to every layer and receives from every
layer, and with them its in- and out-strength, up to rounding; and, on average, how far the weights
of a layer pair scatter about what these sums alone would give. Randomises which components send to
which. Asks: is this structure between components more than what their strengths and scattered
weights produce?

In the block of weights from one layer to another, with row sums r and column sums c that add up
to N, the strengths alone would give r_i c_j / N. A draw is the only matrix with these sums whose
odds ratios w_ij w_kl / (w_il w_kj) are those of independent noise: gamma-distributed noise of mean
1, whose rows and columns are scaled until all sums match. The noise has the variance of the film's
own scatter (`spread`), at most 1, that of an exponential distribution. Uniform draws from all
weights with these sums would scatter like an exponential distribution however even the film is, and
its evenness alone would count as structure. A block with an undefined weight, or of a single row or
column, stays as it is.

Source: Sinkhorn 1967, "Diagonal equivalence to matrices with prescribed row and column sums"; for
null models of networks that keep strengths, Squartini & Garlaschelli 2011, "Analytical
maximum-likelihood method to detect patterns in real networks".
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from cntbench.dynamics.film import Array, Film
from cntbench.dynamics.nulls._draws import copies, layer_pair
from cntbench.metrics._base import TIE, divide

#: Relative error of sums at which scaling ends, and the largest number of rounds. The remaining
#: error is spread over the rows.
_EXACT, _ROUNDS = 1e-12, 500


def draw(film: Film, rng: np.random.Generator, size: int | None = None) -> Array:
    """Return weights with the same sums and independent noise between components."""
    drawn = copies(film, size)
    for rows, columns in _blocks(film):
        # Edges of the block come first, so that sums over them read contiguous memory.
        index = (..., rows[..., None], columns[:, None, :])
        block = np.moveaxis(film.weights[index], (-2, -1), (0, 1))
        shape = (*block.shape[:2], *drawn.shape[:-3], *block.shape[2:])
        noise = np.ascontiguousarray(_noise(block, shape, rng))
        drawn[index] = np.moveaxis(scaled(noise, block), (0, 1), (-2, -1))
    return drawn


def spread(block: Array) -> Array:
    """Return the variance of noise that scatters weights about what strengths alone give.

    With w_ij = r_i c_j e_ij / N and noise e of this variance, to first order,
    E Σ (w_ij N / (r_i c_j) − 1)² = variance · (n − 2 + n Σ p_i²) (m − 2 + m Σ q_j²) over the n rows
    and m columns that have a sum, p = r / N, q = c / N.

    Parameters
    ----------
    block
        Dims ``row, column, …``. The variance is 0 where a weight is undefined, and where the sums
        determine all weights.
    """
    row, column = block.sum(axis=1), block.sum(axis=0)
    total = row.sum(axis=0)
    product = row[:, None] * column[None]
    ratio = np.divide(block * total, product, out=np.ones(block.shape), where=product != 0)
    freedom = _freedom(row, total) * _freedom(column, total)
    return divide(np.square(ratio - 1).sum(axis=(0, 1)), freedom, 0.0)


def _freedom(sums: Array, total: Array) -> Array:
    count = (sums != 0).sum(axis=0)
    freedom = count - 2 + count * np.square(divide(sums, total, 0.0)).sum(axis=0)
    return np.where(count > 1, freedom, 0.0)


def scaled(noise: Array, block: Array) -> Array:
    """Scale rows and columns of noise until their sums are those of a block.

    Parameters
    ----------
    noise
        Positive, dims ``row, column, draw, …`` or ``row, column, …``.
    block
        Dims ``row, column, …``; returned unchanged where a weight is undefined.
    """
    lead = noise.ndim - block.ndim
    target = block.reshape(*block.shape[:2], *[1] * lead, *block.shape[2:])
    row, column = target.sum(axis=1), target.sum(axis=0)
    right = np.ones(noise.shape[1:])
    for _ in range(_ROUNDS):
        left = divide(row, np.einsum("ij...,j...->i...", noise, right), 0.0)
        sums = np.einsum("ij...,i...->j...", noise, left)
        error = np.abs(right * sums - column)
        right = divide(column, sums, 0.0)
        if not (error > _EXACT * column).any():
            break
    weights = noise * left[:, None] * right[None]
    missing = row - weights.sum(axis=1)
    weights += missing[:, None] * divide(column, column.sum(axis=0), 0.0)[None]
    np.maximum(weights, 0, out=weights)
    return np.where(np.isnan(row.sum(axis=0)), target, weights)


def _noise(block: Array, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Return gamma-distributed noise of mean 1, dims ``row, column, draw, …``."""
    variance = spread(block)
    noisy = variance > TIE**2
    concentration = 1 / np.clip(variance, TIE**2, 1)
    drawn = rng.standard_gamma(np.broadcast_to(concentration, shape)) / concentration
    return np.where(noisy, drawn, 1.0)


def _blocks(film: Film) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield sources and targets of all layer pairs of one shape, dims ``pair, component``."""
    pair = layer_pair(film)
    by_shape: dict[tuple[int, int], list[tuple[NDArray[np.int64], NDArray[np.int64]]]] = {}
    for number in np.unique(pair[pair >= 0]):
        rows, columns = (np.flatnonzero((pair == number).any(axis=axis)) for axis in (1, 0))
        if len(rows) > 1 and len(columns) > 1:
            by_shape.setdefault((len(rows), len(columns)), []).append((rows, columns))
    for blocks in by_shape.values():
        yield np.stack([rows for rows, _ in blocks]), np.stack([columns for _, columns in blocks])
