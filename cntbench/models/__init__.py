"""Models: the decoder that the engine runs, architectures, and trajectories of checkpoints."""
