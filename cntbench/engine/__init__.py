"""The engine's parts, behind `cntbench.engine.influence`, which meets a `cntbench.engine.request`.

Total effects: `sweep`. Direct effects and edges on the readout: `departures`, `direct`, `patching`,
`attribution` and the files of `cntbench.estimators`, put together by `edges`. What they share:
`ablation`, `replacing`, `positions`, `readouts`, `chunking`, `arrays`. What a request costs, by the
engine without numbers: `meter`.
"""
