"""The contenders of races, and what each of them computes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

ROOT = Path(__file__).parent.parent
TUNED = {
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
    "MALLOC_TRIM_THRESHOLD_": str(2**33),
    "MALLOC_TOP_PAD_": str(2**26),
}
CONTENDERS = (
    "engine",
    "no unembedding fused",
    "no unembedding",
    "where scored fused",
    "where scored",
    "plain",
)


def contender(name: str, workload: str, share: int, of: int) -> Callable[[], object]:
    """Return a contender's computation for its share of the prompts."""
    from benchmarks.workloads import WORKLOADS, decoder

    work = WORKLOADS[workload]
    prompts = work.make_prompts()
    rows = slice(len(prompts) * share // of, len(prompts) * (share + 1) // of)
    prompts = prompts.take(rows)
    if name.startswith("engine"):
        from cntbench.engine.influence import influence
        from cntbench.engine.request import Request

        model, ablations = decoder(work.shape), work.make_ablations()
        return lambda: influence(
            Request(
                model,
                prompts,
                ablations,
                effects=work.effects,
                readouts=work.effects,  # the opponents compute no other readouts
                observe_all=work.observe_all,
            )
        )
    from benchmarks.opponents import Unembedding, by_the_engines_kernel, hooks
    from benchmarks.peers import PEERS, missing, peer

    if name in PEERS:
        why = missing(name)
        if why:
            raise SystemExit(why)
        return lambda: hooks(work, prompts, "everywhere", model=peer(name, work.shape))
    name, _, batch = name.partition("@")
    fused, name = name.endswith(" fused"), name.removesuffix(" fused")
    unembedding: Unembedding = {
        "plain": "everywhere",
        "where scored": "scored",
        "no unembedding": "none",
    }[name]

    def run() -> object:
        with by_the_engines_kernel() if fused else nullcontext():
            return hooks(work, prompts, unembedding, int(batch) if batch else None)

    return run
