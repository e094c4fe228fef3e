"""Numbers about a graph, its nodes, or the difference between two graphs: one file per idea.

Each file defines ``METRIC`` (a `cntbench.metrics._base.Metric`), ``compute`` on arrays, and
``reference``, the same metric by networkx or a plain loop. The common checks compare the two.
A file of several metrics lists them in ``VARIANTS`` (`cntbench.plugins.Variant`).
Infeasible edges are NaN; feasible edges form no cycle. ``METRIC.per`` sets the dims:

===============  ======================================  =========================================
per              compute                                 reference
===============  ======================================  =========================================
source           ``…, source, target`` → ``…, source``   graph → {node: value}
target           ``…, source, target`` → ``…, target``   graph → {node: value}
component        ``…, source, target`` →                 graph → {node: value}
                 ``…, component``
source_by_layer  ``…, source, target`` →                 graph → {node: {layer: value}}
                 ``…, source, layer``
target_by_layer  ``…, source, target`` →                 graph → {node: {layer: value}}
                 ``…, target, layer``
graph            ``…, source, target`` → ``…``           graph → value
transition       ``…, checkpoint, source, target`` →     earlier graph, later graph → value
                 ``…, checkpoint`` (NaN at the first)
lag              ``…, checkpoint, source, target`` →     earlier graph, later graph → value
                 ``…, checkpoint, lag``
checkpoint_pair  ``…, checkpoint, source, target`` →     graph, other graph → value
                 ``…, checkpoint, other_checkpoint``
===============  ======================================  =========================================

``compute`` takes what ``METRIC.needs`` names as keywords; ``reference`` reads it from the graph:

================  ==========================================  =====================================
need              compute                                     reference
================  ==========================================  =====================================
step              training steps, dims ``checkpoint``         ``graph.graph["step"]``
layer             layers, dims ``component``                  ``graph.nodes[node]["layer"]``
distance          `cntbench.metrics._paths.distances`,        nothing: it computes them itself
                  dims ``…, source, target``
backbone          edges of the backbone ``METRIC.backbone``,  ``graph.edges[edge]["backbone"]``
                  dims ``…, source, target``
ranked_strengths  direction →                                 `cntbench.metrics._layers.\
                  `cntbench.metrics._layers.ranked_strengths` ranked_strengths_reference`
another metric    its values                                  nothing: it computes them itself
================  ==========================================  =====================================

`cntbench.metrics._graphs.Graphs` passes these to the metrics and computes each only once.
"""
