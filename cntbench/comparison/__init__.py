"""Ablation methods side by side: recovery, diagnostics, agreement, reliability, cost.

Statistics are pure functions over arrays; `trained` measures what they are about on a trajectory,
`files` reads it from result files, and `table` puts the numbers together into one dataset.
"""
