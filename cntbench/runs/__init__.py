"""Runs: the catalogue of specs, the plan of a study, its folder, and what measures and combines."""
