"""Compare ablation methods: recovery, diagnostics, agreement, reliability, cost.

Statistics are pure functions of arrays. `trained` measures their inputs on a trajectory, `files`
reads them from result files, and `table` joins the numbers in one dataset.
"""
