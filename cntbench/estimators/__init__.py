"""Estimators of edge effects, one file each: exact, or approximate and cheaper.

An estimator has the name of its file. The file's docstring gives the definition, equation and
source. The file defines

- ``OBSERVES``: the targets of its effects, ``"readout"``, ``"target"``, or both;
- ``USES``: what it needs from the task and the ablation. ``"gradient"``: a readout with a gradient
  at the clean prompts; ``"reference"``: the twins of the prompts, at corresponding positions, for
  gradients at other points; ``"steps"``: the ablation's key of that name; ``"through"``: the inputs
  of a head that see the change; ``"contributions"``: the outputs of components, so only zero can
  replace them;
- ``SIGNED = False`` (optional), if its values on the readout are shares or sizes and no changes:
  circuits then rank edges by size;
- ``estimate(edges)``, which takes `cntbench.engine.attribution.Edges` and yields
  `cntbench.engine.attribution.Estimate` objects for some edges each. Values of the same edge are
  summed. A feasible edge without a value, or with NaN, is an error. For total effects it may also
  yield a `cntbench.engine.attribution.StreamChange`, from which effects on readouts are computed.

Other estimates approximate patched minus clean, the sign of every effect in this package. To keep
``cntbench list`` fast, no estimator imports torch at import time.
"""
