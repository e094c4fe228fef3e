"""One file per architecture; its name is the ``model_type`` of a Hugging Face config.

Each defines ``shape(config) -> Shape``, which needs no weights, and
``decoder(config, tensors) -> Decoder``, which maps the tensors of a ``state_dict`` to stages.
"""
