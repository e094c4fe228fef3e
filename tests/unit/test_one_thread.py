"""Work runs on one thread, in numpy as in torch, in this process as in others."""

from __future__ import annotations

import pytest
import torch
from threadpoolctl import threadpool_limits

from cntbench.parallel.processes import parallel_map, use_one_thread

BLAS = (
    "max(library['num_threads'] for library in __import__('threadpoolctl').threadpool_info()"
    " if library['user_api'] == 'blas')"
)
TORCH = "__import__('torch').get_num_threads()"


@pytest.fixture
def two_threads():
    torch.set_num_threads(2)
    with threadpool_limits(2, user_api="blas"):
        yield
    torch.set_num_threads(1)


@pytest.mark.parametrize("jobs", [1, 2])
def test_work_uses_one_thread(two_threads, jobs):
    assert [*parallel_map(eval, [BLAS, TORCH], jobs=jobs)] == [1, 1]
    assert [eval(BLAS), eval(TORCH)] == [2, 2]


def test_a_process_can_use_one_thread_from_now_on(two_threads):
    use_one_thread()
    assert [eval(BLAS), eval(TORCH)] == [1, 1]
