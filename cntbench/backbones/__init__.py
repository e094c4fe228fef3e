"""One file per rule that says which edges of a graph are its backbone.

Each defines ``Parameters``, a `cntbench.specs.spec` with ``keep(weights)``, which returns the edges
that are kept, and ``reference(graph, parameters)``, the same by plain loops, to which the common
checks hold ``keep``. A backbone is a file of ``tasks/backbones``: a rule and its parameters.
"""
