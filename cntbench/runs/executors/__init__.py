"""Where models are measured: one file for each way.

Each has ``execute``, which takes what measures, what is to be measured as it is fetched, and on
how many processes (but `serial`, which needs none), and yields each model with what came in its
way, in whatever order. Its checkpoint file is written by then. A model that fails costs no other one; what
would fail for all of them, such as a full disk, is raised.
"""
