"""Benchmarks: the engine beside its honest opponents, and exact counts of its work."""
