"""What a file of a run is of: a file that belongs to another run is not believed.

Every checkpoint file says in its attributes which plan, model and block of sources it was measured
for, and where the model came from. A run reads it only if all of that is its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cntbench.models.origin import Folder
from cntbench.models.trajectory import Checkpoint, ModelRef
from cntbench.runs.blocks import SourceBlock
from cntbench.runs.plan import Plan
from cntbench.specs import content_hash

#: Attribute with the hash of plan, model and block.
IDENTITY = "identity_sha256"
#: Attribute with what fixes the model's files, as far as it was known: a commit, or its config.
SOURCE = "model_source"

#: Keys of a config that say who wrote it, not what it describes.
_AUTHORSHIP = ("transformers_version", "_name_or_path", "torch_dtype", "dtype")


def identity(plan: Plan, block: SourceBlock) -> dict[str, str]:
    """Return the attributes of a file that holds a block.

    What is recorded of the other checkpoints is not among them: it may become known later.
    """
    of = {key: value for key, value in plan.identity.items() if key != "checkpoints"}
    of["model"] = _label(block.subject)
    of["block"] = [block.number, block.of]
    return {IDENTITY: content_hash(of), SOURCE: _source(plan, block.subject)}


def belongs(attributes: Mapping[Any, Any], plan: Plan, block: SourceBlock) -> bool:
    """Say whether a file with these attributes holds that block; one without them is believed not.

    A source that was not known, when the file was written or now, is not held against it.
    """
    expected = identity(plan, block)
    sources = {attributes.get(SOURCE, ""), expected[SOURCE]} - {""}
    return attributes.get(IDENTITY) == expected[IDENTITY] and len(sources) <= 1


def _label(subject: ModelRef) -> dict[str, Any]:
    """Return what distinguishes a model from all others of a plan."""
    if isinstance(subject, Checkpoint):
        return {"checkpoint": subject.name, "step": subject.step}
    return {"untrained": subject.seed}


def _source(plan: Plan, subject: ModelRef) -> str:
    """Return what fixes a model's files beside its tensors; empty if it is not known here."""
    if not isinstance(subject, Checkpoint):
        return _config(plan.trajectory.config)
    if subject.origin.identity:
        return subject.origin.identity
    return _config(subject.origin.path if isinstance(subject.origin, Folder) else None)


def _config(folder: Path | None) -> str:
    """Return the hash of a folder's config, empty if there is none that can be read."""
    if folder is None:
        return ""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return content_hash({k: v for k, v in config.items() if k not in _AUTHORSHIP})
    except (OSError, ValueError, AttributeError, RecursionError):
        return ""
