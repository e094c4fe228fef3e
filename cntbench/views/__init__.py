"""What pictures show: one file each, arrays from an opened result, no plotting library.

Each file has a frozen dataclass, which documents the dims of its arrays, and a function that makes
it from the `xarray.DataTree` that `cntbench.results.storage.open_results` returns. Where a result
lacks the group that a picture needs, it returns `cntbench.views.missing.Missing` instead.

==============  ====================================================================
file            picture
==============  ====================================================================
``film``        the component graph, laid out by layer, at every checkpoint; as a matrix
``readouts``    the clean model's behaviour over training; its steepest rise
``metrics``     a metric over training, with the band of its null model; recurrence; phases
``bump``        ranks of spreaders or gatherers over training
``effects``     what ablating each component does to a readout
``verdict``     verdicts on methods and on claims, with effects and intervals
``comparison``  ablation methods: agreement, and recovery, diagnostics, reliability, cost
``provenance``  where the numbers come from, and which checkpoints are left out
==============  ====================================================================

``steps`` (the axis of training steps) serves several.
"""
