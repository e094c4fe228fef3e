"""Exempts all existing objects from garbage collection, in the server that forks workers.

The server imports this module last. Otherwise, garbage collection in a worker would write to the
memory pages of all imported objects, and each worker would get its own copy of them.
"""

import gc

gc.freeze()
