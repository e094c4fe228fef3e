"""Keeps the server that workers are forked from from collecting garbage while it imports.

It imports this first, and `cntbench.parallel._gc_freeze` last. Libraries make a million objects,
none of which is garbage.
"""

import gc

gc.disable()
