"""How the effects of edges are had, one file each: exactly, or by an estimate that costs less.

A file's name is the estimator's. Its docstring gives definition, equation and source. It defines

- ``OBSERVES``: what its effects are on, ``"readout"``, ``"target"``, or both;
- ``USES``: what it uses of the task and of the ablation. ``"gradient"``: a readout that has one, at
  the clean prompts; ``"reference"``: the twins of the prompts, at positions that correspond, so
  that gradients are taken at other points, too; ``"steps"``: the ablation's key of that name;
  ``"through"``: which inputs of a head see the change;
- ``estimate(edges)``, which yields a `cntbench.engine.attribution.Estimate` of some edges at a
  time, from `cntbench.engine.attribution.Edges`. What it yields of one edge is added up. Edges of
  which it yields nothing, although they are feasible, are an error, as are NaN.

Estimated effects approximate patched minus clean, the sign of every effect here. To keep
``cntbench list`` quick, no file here imports torch when it is loaded.
"""
