"""One file per statistic of claims: a number about a film that is large if what is claimed is so.

Each defines ``Parameters``, a `cntbench.specs.spec` that is a `cntbench.dynamics.statistics._base
.Statistic`.
"""
