"""One file per replacement rule: what stands in for a component's output.

Each defines ``Parameters``, a `cntbench.specs.spec` that is a `Replacement`.
"""
