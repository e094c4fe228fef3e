"""The engine. `cntbench.engine.influence` answers a `cntbench.engine.request`.

Total effects: `sweep`. Direct effects and effects of edges on the readout: `perturbations`,
`direct`, `patching`, `attribution` and the files of `cntbench.estimators`, combined by `edges`.
Shared: `replacing`, `positions`, `readouts`, `chunking`, `arrays`. The cost of a request, counted
without computing it: `meter`.
"""
