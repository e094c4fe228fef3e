"""One file per source of trajectories; its name is the prefix that users write.

Each defines ``open_trajectory(where, progress, specs) -> Trajectory``.
"""
