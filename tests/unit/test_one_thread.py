"""Work runs on one thread, in numpy as in torch, in this process as in others."""

from __future__ import annotations

import subprocess
import sys

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


def test_linear_algebra_that_is_loaded_later_uses_one_thread():
    code = (
        "import numpy, sys, threadpoolctl; from cntbench.parallel.processes import one_thread\n"
        "with one_thread(): import scipy.linalg\n"
        "threadpoolctl.threadpool_limits(2, user_api='blas')\n"
        f"with one_thread(): print({BLAS}, len(threadpoolctl.threadpool_info()))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    most, libraries = map(int, ended.stdout.split())
    assert (most, libraries > 1) == (1, True)


def test_a_process_can_use_one_thread_from_now_on(two_threads):
    use_one_thread()
    assert [eval(BLAS), eval(TORCH)] == [1, 1]
