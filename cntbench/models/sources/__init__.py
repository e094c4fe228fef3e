"""One file per source of trajectories; its name is the prefix in users' commands.

Each defines ``open_trajectory(where, progress, specs) -> Trajectory``. With ``CHOOSES = True``, it
takes ``checkpoints``, too, and reads only the chosen ones. One whose trajectories have a seed
defines ``with_seed(where, seed) -> str``. One that trains a model defines ``planned_steps(where)``,
the steps of its checkpoints by name: a choice is checked before the training.
"""
