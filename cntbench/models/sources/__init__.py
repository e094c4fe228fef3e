"""One file per source of trajectories; its name is the prefix in users' commands.

Each defines ``open_trajectory(where, progress, specs) -> Trajectory``.
"""
