"""One file per architecture.

Each defines ``MODEL_TYPES``, the ``model_type`` of the Hugging Face configs that it serves;
``shape(config) -> Shape``, which needs no weights; and ``decoder(config, tensors) -> Decoder``,
which maps the tensors of a ``state_dict`` to stages. `cntbench.models.architectures` finds them.
"""
