"""Planted circuits: GPT-NeoX models whose edges are known, because their weights are written by hand.

`spec` is what a file states, `blueprint` checks it, `truth` says which edges there are. `functions`
and `wiring` say what each component computes, `weights` writes that into a model, `dynamics` over a
training; `circuit` puts them together.
"""
