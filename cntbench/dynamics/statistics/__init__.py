"""One file per statistic of claims: a number about a film that is large if the claim holds.

Each defines ``Parameters``, a `cntbench.specs.spec` and a subclass of
`cntbench.dynamics.statistics._base.Statistic`.
"""
