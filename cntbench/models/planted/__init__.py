"""Planted circuits: GPT-NeoX models with known edges, because their weights are written by hand.

`spec` is what a file states, and `blueprint` that, checked. `functions` and `wiring` say what each
component computes, `dynamics` how that changes over a training, `assembly` puts a circuit together,
and `weights` writes it into a model. `circuit` is what others use: a name, the truth, the models.
"""
