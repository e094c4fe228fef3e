"""Graphs of a random circuit, written as EAP-IG's ``Graph.to_json`` writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np


def edge_names(layers: int, heads: int, *, parallel: bool) -> list[str]:
    """Edges in the order in which the library builds them, from each layer's residual stream."""
    stream, names = ["input"], []
    for layer in range(layers):
        attention, mlp = [f"a{layer}.h{head}" for head in range(heads)], f"m{layer}"
        for source in stream:
            names += [f"{source}->{head}<{qkv}>" for head in attention for qkv in "qkv"]
            names += [f"{source}->{mlp}"] if parallel else []
        names += [] if parallel else [f"{source}->{mlp}" for source in [*stream, *attention]]
        stream = [*stream, *attention, mlp]
    return names + [f"{s}->logits" for s in stream]


def graph(
    layers: int = 2, heads: int = 2, *, parallel: bool = False, seed: int = 0, old: bool = False
) -> dict[str, Any]:
    """What the file holds; ``old`` as the first versions wrote it, without objects for nodes."""
    rng = np.random.default_rng(seed)
    names = edge_names(layers, heads, parallel=parallel)
    nodes = ["input"]
    for layer in range(layers):
        nodes += [*(f"a{layer}.h{head}" for head in range(heads)), f"m{layer}"]
    cfg: dict[str, Any] = {"n_layers": layers, "n_heads": heads, "parallel_attn_mlp": parallel}
    return {
        "cfg": cfg if old else {**cfg, "d_model": 8},
        "nodes": {name: True if old else {"in_graph": True} for name in [*nodes, "logits"]},
        "edges": {
            name: {"score": float(np.float32(rng.standard_normal())), "in_graph": bool(member)}
            for name, member in zip(names, rng.random(len(names)) < 0.4, strict=True)
        },
    }


def write_graph(path: Path, content: object) -> Path:
    """Write a file."""
    path.write_text(json.dumps(content))
    return path
