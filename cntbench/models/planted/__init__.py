"""Planted circuits: models whose edges are known, because their weights are constructed.

A file's `spec` becomes a checked `blueprint`. `functions` and `wiring` define what each component
computes, and `weights` writes a whole circuit into a model. `circuit` is the public interface: a
circuit's name, its true edges and its models.
"""
