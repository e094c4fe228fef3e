"""What worker processes share: imported once, by the server that they are forked from."""

import gc

import cntbench.influence
import cntbench.models.checkpoint_files  # noqa: F401

# What is imported stays. Collecting garbage in a worker would write to the pages of all these
# objects, and each worker would get a copy of its own.
gc.freeze()
