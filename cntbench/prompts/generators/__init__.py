"""One file per prompt generator.

Each defines ``Parameters``, a `cntbench.specs.spec` with a method
``make(language, rng) -> Prompt``.
"""
