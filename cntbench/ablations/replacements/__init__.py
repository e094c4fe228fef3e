"""One file per replacement rule, which replaces a component's output.

Each defines ``Parameters``, a `cntbench.specs.spec` that is a `Replacement`.
"""
