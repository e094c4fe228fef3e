"""The chain of the null model ``strengths`` is long enough, and its distribution is uniform."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kstest, norm

from cntbench.dynamics.nulls.strengths import SWEEPS, independent, sweep

CHAINS = 2000


def chains(block: np.ndarray, sweeps: int, seed: int) -> np.ndarray:
    """The blocks in which independent chains end; pairs are shared by a tenth of them each."""
    rng = np.random.default_rng(seed)
    start = independent(np.repeat(block[..., None], CHAINS // 10, axis=-1))
    return np.concatenate([sweep(start.copy(), rng, sweeps) for _ in range(10)], axis=-1)


def structure(blocks: np.ndarray) -> dict[str, np.ndarray]:
    """Numbers that say how far the weights are from where they started."""
    return {
        "sum of squares": (blocks**2).sum(axis=(0, 1)),
        "largest": blocks.max(axis=(0, 1)),
        "entropy": -(blocks * np.log(blocks + 1e-300)).sum(axis=(0, 1)),
        "one edge": blocks[0, 0],
    }


@pytest.mark.parametrize("tail", [0.5, 1.5, 2.5])
@pytest.mark.parametrize("shape", [(5, 5), (5, 2), (11, 11)])
def test_twice_as_many_sweeps_change_nothing(shape: tuple[int, int], tail: float):
    block = np.random.default_rng(1).lognormal(0, tail, shape)
    found = structure(chains(block, SWEEPS, seed=2))
    longer = structure(chains(block, 4 * SWEEPS, seed=3))
    # Means of as many chains scatter by 1 / 32 of a standard deviation, pairs shared within a
    # tenth of them add to it.
    for name, values in found.items():
        shift = (values.mean() - longer[name].mean()) / longer[name].std()
        assert abs(shift) < 0.15, f"the mean of {name} is still moving"
        assert 0.9 < values.std() / longer[name].std() < 1.1, (
            f"the spread of {name} is still moving"
        )


def test_fewer_sweeps_would_not_do():
    block = np.random.default_rng(1).lognormal(0, 1.5, (11, 11))
    found = structure(chains(block, SWEEPS // 16, seed=2))["entropy"]
    longer = structure(chains(block, 4 * SWEEPS, seed=3))["entropy"]
    assert (found.mean() - longer.mean()) / longer.std() > 0.5


def test_a_square_of_four_is_uniform():
    """With two rows and columns one weight says all, and it is uniform over its range."""
    block = np.array([[3.0, 1.0], [0.5, 2.0]])
    found = chains(block, 1, seed=0)[0, 0]
    low, high = 3.0 - min(3.0, 2.0), 3.0 + min(1.0, 0.5)
    assert kstest((found - low) / (high - low), "uniform").pvalue > 1e-3


def test_two_columns_are_as_rejection_finds_them():
    """Of three rows and two columns, two weights are free: draw them blindly, keep what fits."""
    rows, columns = np.array([1.0, 2.0, 4.0]), np.array([3.0, 4.0])
    rng = np.random.default_rng(0)
    first = rng.random((200_000, 2)) * rows[:2]
    last = columns[0] - first.sum(axis=1)
    kept = first[(last >= 0) & (last <= rows[2])]
    block = rows[:, None] * columns / columns.sum()
    found = chains(block, SWEEPS, seed=1)[:2, 0].T
    for mine, exact in zip(found.T, kept.T, strict=True):
        error = exact.std() * np.sqrt(1 / len(mine) + 1 / len(exact))
        assert abs(mine.mean() - exact.mean()) < norm.isf(1e-4) * error
        assert mine.std() == pytest.approx(exact.std(), rel=0.06)
    agreement = np.corrcoef(found.T)[0, 1] - np.corrcoef(kept.T)[0, 1]
    assert abs(agreement) < 4 / np.sqrt(CHAINS)
