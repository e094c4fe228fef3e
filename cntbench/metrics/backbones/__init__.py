"""Rules that select the backbone of a graph, one file each.

Each file defines ``Parameters``, a `cntbench.specs.spec` with ``keep(weights)``, which says which
edges are kept, and ``reference(graph, parameters)``, the same by plain loops. The common checks
compare the two. A backbone is a file of ``tasks/backbones``: a rule and its parameters.
"""
