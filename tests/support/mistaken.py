"""A trajectory that is computed wrongly; workers import it from here, wherever the tests run."""

from __future__ import annotations

from dataclasses import fields, replace

import torch

from cntbench.models.maps import Linear
from cntbench.models.trajectory import Trajectory


class Mistaken(Trajectory):
    """A trajectory that is computed wrongly, in every process."""

    def read(self, subject, folder, dtype=torch.float32):
        checkpoint, model = super().read(subject, folder, dtype)
        head = Linear(model.unembed.weight * 1.01, model.unembed.bias)
        return checkpoint, replace(model, unembed=head)


def mistaken(trajectory):
    return Mistaken(**{each.name: getattr(trajectory, each.name) for each in fields(Trajectory)})
