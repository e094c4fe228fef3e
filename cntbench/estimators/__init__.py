"""Estimators of the effects of edges, one file each: exact, or approximate and cheaper.

The name of the file is the name of the estimator. Its docstring gives definition, equation and
source. It defines

- ``OBSERVES``: the targets of its effects, ``"readout"``, ``"target"``, or both;
- ``USES``: what it needs of the task and the ablation. ``"gradient"``: a readout with a gradient,
  at the clean prompts; ``"reference"``: the twins of the prompts, at corresponding positions, for
  gradients at other points; ``"steps"``: the ablation's key of that name; ``"through"``: the inputs
  of a head that see the change; ``"contributions"``: the outputs of components, so that only zero
  can replace them;
- ``estimate(edges)``, which takes `cntbench.engine.attribution.Edges` and yields
  `cntbench.engine.attribution.Estimate` objects, each of some edges. Values of the same edge are
  summed. A feasible edge without a value is an error, and so is NaN. For total effects it may also
  yield a `cntbench.engine.attribution.StreamChange`, from which effects on readouts are computed.

Estimates approximate patched minus clean, the sign of all effects here. To keep ``cntbench list``
fast, no file here imports torch at import time.
"""
