"""The engine's parts, behind `cntbench.engine.influence`.

Total effects: `sweep`. Direct effects and edges on the readout: `departures`, `direct`, `patching`,
`attribution`, put together by `edges`. What they share: `ablation`, `replacing`, `positions`,
`readouts`, `chunking`. The work in closed form: `work`, `prediction`, `edge_prediction`.
"""
