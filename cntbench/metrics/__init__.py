"""One file per metric: a number about a graph, a node of it, or a step from one graph to the next.

Each defines ``METRIC`` (a `cntbench.metrics._base.Metric`), ``compute`` on arrays, and
``reference``, the same by networkx or a plain loop, to which the common checks hold ``compute``.
Infeasible edges are NaN. By ``METRIC.per``:

===========  =========================================  ========================================
per          compute                                    reference
===========  =========================================  ========================================
source       ``…, source, target`` → ``…, source``      graph → {node: value}
target       ``…, source, target`` → ``…, target``      graph → {node: value}
graph        ``…, source, target`` → ``…``              graph → value
transition   ``…, checkpoint, source, target`` →        earlier graph, later graph → value
             ``…, checkpoint`` (NaN at the first)
===========  =========================================  ========================================
"""
