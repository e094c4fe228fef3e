"""Numbers about a graph, a node of it, or how one graph differs from another: one file per idea.

Each defines ``METRIC`` (a `cntbench.metrics._base.Metric`), ``compute`` on arrays, and
``reference``, the same by networkx or a plain loop, to which the common checks hold ``compute``.
A file of several metrics lists them in ``VARIANTS`` (`cntbench.plugins.Variant`).
Infeasible edges are NaN, and feasible ones form no cycle. By ``METRIC.per``:

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

What ``METRIC.needs`` names, ``compute`` takes as keywords and ``reference`` finds in the graph:

=========  ==========================================  ============================================
need       compute                                     reference
=========  ==========================================  ============================================
step       training steps, dims ``checkpoint``         ``graph.graph["step"]``
layer      layers, dims ``component``                  ``graph.nodes[node]["layer"]``
distance   `cntbench.metrics._paths.distances`,        nothing: it finds them itself
           dims ``…, source, target``
backbone   edges of the backbone ``METRIC.backbone``,  ``graph.edges[edge]["backbone"]``
           dims ``…, source, target``
=========  ==========================================  ============================================

`cntbench.metrics._graphs.Graphs` gives a metric what it needs; what several need, once.
"""
