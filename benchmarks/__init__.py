"""Benchmarks: the engine against its opponents, and exact counts of its work."""
