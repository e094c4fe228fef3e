"""Pieces of work on a GPU are as large as its memory allows; here a CPU is taken for one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.ablations import shipped
from support.models import decoder, random_model, random_prompts

from cntbench.engine import chunking
from cntbench.engine.chunking import predicted_bytes
from cntbench.engine.request import Request
from cntbench.models.device import memory_of

METHODS = ("zero", "mean", "zero_direct")


@pytest.fixture(scope="module")
def call():
    model = decoder(random_model("gpt_neox", layers=3, heads=2, width=8))
    methods = [shipped()[name].method for name in METHODS]
    return Request(model, random_prompts(count=12), methods)


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(chunking, "_is_on_gpu", lambda model: True)


def test_pieces_grow_with_the_memory_and_stay_within_it(call, gpu, monkeypatch):
    monkeypatch.setattr(chunking, "STAGE_ROWS_AT_ONCE", 64)
    monkeypatch.setattr(chunking, "LOGITS_AT_ONCE", 2**10)
    sizes = []
    for budget in (2**19, 2**21, 2**24):
        request = replace(call, memory_budget=budget)
        assert predicted_bytes(request) <= budget
        sizes.append(chunking.chunking(request, "total"))
    assert sizes[0].prompts < sizes[1].prompts <= sizes[2].prompts == 12
    assert sizes[0].runs * sizes[0].prompts < sizes[2].runs * sizes[2].prompts


def test_on_a_cpu_memory_does_not_make_pieces_larger(call):
    first, second = (
        chunking.chunking(replace(call, memory_budget=budget), "total") for budget in (2**30, 2**34)
    )
    assert first == second


def test_most_of_the_free_memory_of_a_gpu_is_used(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (100 * 2**30, 141 * 2**30))
    assert memory_of("cuda") == 80 * 2**30
    assert memory_of("cpu") == 2**30
