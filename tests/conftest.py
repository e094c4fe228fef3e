"""Settings of every test: one thread, and reproducible hypothesis runs."""

from __future__ import annotations

import os

import torch
from hypothesis import HealthCheck, settings

torch.set_num_threads(1)

# A slow machine is no failure, and a failure prints how to repeat it. On CI the examples are
# always the same ones, so that a red build means a changed program.
settings.register_profile(
    "local", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("ci", settings.get_profile("local"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")
