"""What transformers does to the whole process, it does to one model at a time."""

from __future__ import annotations

import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from support.trajectories import write_trajectory
from transformers import AutoConfig, AutoModelForCausalLM

from cntbench.models import checkpoint_files, parity
from cntbench.models.foreign import transformers_lock
from cntbench.models.outline import Outline


def is_locked() -> bool:
    """Whether another thread than this one would have to wait."""
    taken = []

    def attempt() -> None:
        taken.append(transformers_lock.acquire(blocking=False))
        if taken[0]:
            transformers_lock.release()

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    return not taken[0]


def outline(folder):
    return Outline(checkpoint_files.read_config(folder)).parameters


def untrained(folder):
    return checkpoint_files.initialise(folder, 0)


def loaded(folder):
    weights = checkpoint_files.read_weights(folder)
    return parity.of_folder("step0", folder, checkpoint_files.decoder(folder, weights.named))


@pytest.mark.parametrize("work", [outline, untrained, loaded])
def test_models_are_made_one_at_a_time(work, tmp_path, monkeypatch):
    folder = write_trajectory(tmp_path, steps=(0,)) / "step0"
    seen = []
    for name in ("from_config", "from_pretrained"):
        make = getattr(AutoModelForCausalLM, name)

        def watched(*arguments, _make=make, **options):
            seen.append(is_locked())
            return _make(*arguments, **options)

        monkeypatch.setattr(AutoModelForCausalLM, name, watched)
    assert not is_locked()
    work(folder)
    assert seen
    assert all(seen)


def test_untrained_models_are_the_same_in_several_threads(tmp_path):
    folder = write_trajectory(tmp_path, steps=(0,)) / "step0"
    seeds = range(8)
    expected = [checkpoint_files.initialise(folder, seed) for seed in seeds]
    with ThreadPoolExecutor(4) as pool:
        made = pool.map(lambda seed: checkpoint_files.initialise(folder, seed), seeds)
        for one, other in zip(expected, made, strict=True):
            assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_tokens_outside_the_vocabulary_are_no_news(tmp_path, caplog, monkeypatch):
    folder = write_trajectory(tmp_path, steps=(0,)) / "step0"
    monkeypatch.setattr(logging.getLogger("transformers"), "handlers", [caplog.handler])
    path = folder / "config.json"
    content = json.loads(path.read_text())
    for read, told in ((checkpoint_files.read_config, False), (AutoConfig.from_pretrained, True)):
        content["eos_token_id"] = 5_025_600 + told  # transformers warns of each once
        path.write_text(json.dumps(content))
        read(folder)
        assert ("eos_token_id" in caplog.text) is told
