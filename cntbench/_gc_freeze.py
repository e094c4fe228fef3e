"""Imported last by the server that workers are forked from: whatever is imported by then stays.

Collecting garbage in a worker would write to the pages of all objects that are there, and each
worker would get a copy of its own.
"""

import gc

gc.freeze()
