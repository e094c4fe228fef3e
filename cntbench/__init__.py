"""Transformers as evolving causal graphs: influence between components over training."""

__version__ = "0.1.0"
