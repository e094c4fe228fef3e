"""Where models are measured: one file for each way.

Each has ``execute``, which takes what measures, and what is to be measured as it is fetched, and
yields each model with what came in its way, in whatever order.
"""
