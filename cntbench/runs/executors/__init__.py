"""Where models are measured: one file per executor.

Each file has ``execute(measurer, ahead, jobs)``. It yields every model with the reason why it could
not be measured, or None, in any order; the model's checkpoint file is written by then. A model that
fails does not stop the others. What would fail for every model, such as a full disk, is raised.
"""
