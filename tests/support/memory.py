"""How much memory a call takes."""

from __future__ import annotations

import numpy as np
import torch


def peak_bytes(call):
    """The most that torch's allocator held at once, everything that operators use included."""
    call()
    with torch.profiler.profile(profile_memory=True) as profile:
        call()
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    assert events
    held = np.cumsum([e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())])
    return int(held.max())
