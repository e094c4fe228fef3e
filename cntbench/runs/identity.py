"""What a checkpoint file belongs to, so that a run never reads the file of another one.

The attributes of every checkpoint file record the plan, the model and the block of sources that it
was measured for, and the source of the model. A run reads only files in which all of these agree.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cntbench.models.origin import Folder, SingleFile
from cntbench.models.trajectory import Checkpoint, ModelRef
from cntbench.runs.blocks import SourceBlock
from cntbench.runs.plan import Plan
from cntbench.specs import content_hash

#: Attribute with the hash of plan, model and block.
IDENTITY = "identity_sha256"
#: Attribute with what fixes the model's files, if known: a commit, or the hash of the config.
SOURCE = "model_source"

#: Keys of a config about its authorship, not about the model.
_AUTHORSHIP = ("transformers_version", "_name_or_path", "torch_dtype", "dtype")


def identity(plan: Plan, block: SourceBlock) -> dict[str, str]:
    """Return the identifying attributes of the file of a block.

    The identities of other checkpoints are left out: they may become known later.
    """
    content = {key: value for key, value in plan.identity.items() if key != "checkpoints"}
    content["model"] = _label(block.subject)
    content["block"] = [block.number, block.of]
    return {IDENTITY: content_hash(content), SOURCE: _source(plan, block.subject)}


def belongs(attributes: Mapping[Any, Any], plan: Plan, block: SourceBlock) -> bool:
    """Return whether a file with these attributes holds the block; False without attributes.

    A source that was unknown when the file was written, or is unknown now, matches any other.
    """
    expected = identity(plan, block)
    sources = {attributes.get(SOURCE, ""), expected[SOURCE]} - {""}
    return attributes.get(IDENTITY) == expected[IDENTITY] and len(sources) <= 1


def _label(subject: ModelRef) -> dict[str, Any]:
    """Return what distinguishes a model from the others of a plan."""
    if isinstance(subject, Checkpoint):
        return {"checkpoint": subject.name, "step": subject.step}
    return {"untrained": subject.seed}


def _source(plan: Plan, subject: ModelRef) -> str:
    """Return what fixes a model's files besides its tensors; empty if unknown."""
    if not isinstance(subject, Checkpoint):
        return _config(plan.trajectory.config)
    if subject.origin.identity:
        return subject.origin.identity
    if isinstance(subject.origin, SingleFile):
        return _config(subject.origin.path.parent)
    return _config(subject.origin.path if isinstance(subject.origin, Folder) else None)


def _config(folder: Path | None) -> str:
    """Return the hash of a folder's config; empty if it cannot be read."""
    if folder is None:
        return ""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return content_hash({k: v for k, v in config.items() if k not in _AUTHORSHIP})
    except (OSError, ValueError, AttributeError, RecursionError):
        return ""


def differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """Return the keys in which two identities differ, with dots between nested keys."""
    keys = []
    for key in sorted({*first, *second}):
        a, b = first.get(key), second.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            keys += [f"{key}.{nested}" for nested in differing(a, b)]
        elif a != b:
            keys.append(key)
    return keys
