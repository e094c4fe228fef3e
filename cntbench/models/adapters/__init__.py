"""One file per architecture, and which of them serves a model.

Each file defines ``MODEL_TYPES``, the ``model_type`` of the Hugging Face configs that it serves;
``EXACT``, what is special about them and computed exactly, for ``cntbench list architectures``;
``shape(config) -> Shape``, which needs no weights; and ``decoder(config, tensors) -> Decoder``,
which maps the tensors of a ``state_dict`` to stages. Optional are ``BUFFERS``, endings of the names
of tensors that older programs saved with the weights and no model uses; ``RENAMED``, modules whose
names on disk differ from those in memory; and ``merged(tensors)``, which returns the tensors of a
file under the names of transformers where several make one.
"""

from __future__ import annotations

from types import ModuleType

from cntbench import plugins
from cntbench.errors import CheckpointError, SpecError, nearest


def model_types() -> dict[str, ModuleType]:
    """Return the adapters by the ``model_type`` that they serve.

    Raises a `SpecError` if two adapters serve the same ``model_type``.
    """
    served: dict[str, plugins.Plugin] = {}
    for plugin in plugins.room("adapter").values():
        for model_type in plugin.module.MODEL_TYPES:
            if model_type in served:
                raise SpecError(
                    f"model_type {model_type!r} is served by {served[model_type].path} already",
                    where=str(plugin.path),
                )
            served[model_type] = plugin
    return {model_type: plugin.module for model_type, plugin in served.items()}


def adapter(model_type: str, *, where: str | None = None) -> ModuleType:
    """Return the adapter of an architecture.

    Raises a `CheckpointError` if there is none; it lists what is supported. ``where`` is the file
    that names it.
    """
    adapters = model_types()
    if model_type not in adapters:
        raise CheckpointError(
            f"architecture {model_type!r} is not supported",
            where=where,
            hint=f"{nearest(model_type, adapters)} A new one is one file in "
            "cntbench/models/adapters; CONTRIBUTING.md shows how.",
        )
    return adapters[model_type]
