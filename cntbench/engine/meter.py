"""The work of a request, before it is done: the engine itself runs where there are no numbers.

On torch's meta device tensors have shapes, and operators do nothing. `predicted_work` runs the
engine there, on the fewest prompts that it takes, and scales what it counts: with the sizes of the
pieces given, the work is proportional to the prompts. FLOPs are counted by
`torch.utils.flop_counter`, a matrix product of sizes m × k and k × n as 2 m k n. A *layer-token* is
one token of one run through the attention of a layer, or through its MLP; either counts one half.

Attention's own two products, queries with keys and weights with values, are counted apart and in
full, though the causal half of them is never used: libraries differ in whether they compute (and
count) it. Everything else, norms, activations and exponentials, is left out: it is linear in the
tokens.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from cntbench.engine.influence import influence
from cntbench.engine.optimal_constants import Losses
from cntbench.engine.request import Piece, Request
from cntbench.models.blocks import Attention, Block, Queries
from cntbench.models.decoder import Decoder, Stage
from cntbench.models.maps import Linear
from cntbench.models.precision import moved


@dataclass(frozen=True)
class Work:
    """An amount of work.

    Parameters
    ----------
    attention_tokens, mlp_tokens
        Tokens for which attention, and the MLP, of a layer is computed.
    products
        FLOPs of matrix products, attention's own two not among them.
    attention
        FLOPs of attention's own two.
    """

    attention_tokens: int = 0
    mlp_tokens: int = 0
    products: int = 0
    attention: int = 0

    @property
    def token_layers(self) -> float:
        """Tokens × layers."""
        return (self.attention_tokens + self.mlp_tokens) / 2

    @property
    def flops(self) -> int:
        """FLOPs of all matrix products."""
        return self.products + self.attention

    def __add__(self, other: Work) -> Work:
        return Work(*map(operator.add, vars(self).values(), vars(other).values()))

    def __mul__(self, times: int) -> Work:
        return Work(*(amount * times for amount in vars(self).values()))

    def __sub__(self, other: Work) -> Work:
        return self + other * -1


def total(parts: Iterable[Work]) -> Work:
    """Add up work."""
    return sum(parts, start=Work())


def predicted_work(request: Request) -> Work:
    """Return the work of a request.

    Returns
    -------
    Work
        Exact, but for replacements by fitted constants: they count as if the fit of no source ended
        before its last step, an upper bound. So are the FLOPs of attention's way back, in gradient
        estimates and fits, which count as two and a half times those of its way forth.
    """
    if request.prompts.anchors is not None:
        return total(_predicted(group) for _, group in request.checked().groups())
    return _predicted(request)


def _predicted(request: Request) -> Work:
    """Return the work of a request whose prompts have one length."""
    count, fewest = len(request.prompts), 1
    if request.other_draws > 1:
        fewest += request.other_draws
    meter = Meter()
    few = MeteredRequest(
        **vars(request)
        | {
            "model": meter.attached(request.model),
            "prompts": request.prompts.take(slice(fewest)),
            "meter": meter,
        }
    )
    # Inference mode would hide composite operators from the counter.
    work = meter.counted(lambda: influence.__wrapped__(few))  # type: ignore[attr-defined]
    for steps in request.fits:
        work += _fit(meter, few, steps)
    return Work(*(each * count // len(few.prompts) for each in vars(work).values()))


def _fit(meter: Meter, request: Request, steps: int) -> Work:
    """Return the work of fitting all constants, group by group of sources."""
    losses = Losses(request.model, request.prompts, request.memory_budget)
    width = max(block.width for block in request.model.blocks)

    def evaluated(sources: range) -> Work:
        constants = torch.empty(len(sources), width, dtype=request.model.dtype, device="meta")
        return meter.counted(lambda: losses.of(torch.tensor(sources, dtype=torch.long), constants))

    # Beside its own sources, each group runs the clean prompts.
    clean = evaluated(range(0))
    forth = evaluated(range(len(request.model.components))) + clean * (len(losses.groups) - 1)
    back = Work(products=forth.products, attention=forth.attention * 5 // 2)
    # Zero and the mean; the start and the steps, each forth and back.
    return forth * 2 + (forth + back) * (1 + steps)


class Meter:
    """Counts what a decoder computes on the meta device.

    Where no gradient is taken, a block computes something of arguments of the same shapes only
    once; later calls count the same work and return as much without numbers.
    """

    def __init__(self) -> None:
        self.work = Work()
        self.known: dict[object, tuple[Work, Tensor]] = {}
        self._kinds: dict[object, type[_Metered]] = {}

    def attached(self, model: Decoder) -> Decoder:
        """Return the decoder, on the meta device, with blocks that this meter counts."""
        model = moved(model, "meta")
        stages = (
            Stage(_norm(stage.norm), tuple(map(self._metered, stage.blocks)))
            for stage in model.stages
        )
        return replace(model, stages=tuple(stages))

    def counted(self, computation: Callable[[], object]) -> Work:
        """Return the work of a computation."""
        self.work = Work()
        with torch.no_grad(), _AttentionMode(self), _ProductMode(self):
            computation()
        return self.work

    def _metered(self, block: Block) -> Block:
        """Return a block that is counted; blocks of one shape share what is known of them."""
        shapes = (type(block), *(_shape(value) for value in vars(block).values()))
        if shapes not in self._kinds:
            names = {"meter": self, "known": {}}
            self._kinds[shapes] = type("MeteredBlock", (_Metered, type(block)), names)
        metered: Any = self._kinds[shapes](**vars(block))
        return cast(Block, metered)


@dataclass(frozen=True)
class MeteredRequest(Request):
    """A request of whose equal pieces one is computed, and counted for all."""

    meter: Meter = field(default_factory=Meter)

    def each(self, pieces: Iterable[Piece], cost: Callable[[Piece], object]) -> Iterator[Piece]:
        """Yield one piece of each cost."""
        equal: dict[object, list[Piece]] = {}
        for piece in pieces:
            equal.setdefault(cost(piece), []).append(piece)
        for first, *others in equal.values():
            before = self.meter.work
            yield first
            self.meter.work += (self.meter.work - before) * len(others)

    def once(self, key: object, compute: Callable[..., Tensor], *arguments: Any) -> Tensor:
        """Compute one tensor of each key and shapes, and count the others like it."""
        whole = key, *map(_shape, arguments)
        if whole not in self.meter.known:
            before = self.meter.work
            made = compute(*arguments)
            self.meter.known[whole] = self.meter.work - before, made
            return made
        work, made = self.meter.known[whole]
        self.meter.work += work
        return torch.empty_like(made)


class _Metered:
    """A block whose work is counted."""

    meter: Meter
    known: dict[object, tuple[Work, Tensor | None]]

    def states(self, normed: Tensor, queries: Queries | None = None) -> Tensor:
        tokens = normed.shape[:-1].numel()
        kind = "attention_tokens" if isinstance(self, Attention) else "mlp_tokens"
        self.meter.work += Work(**{kind: tokens})
        return self._counted("states", normed, queries)

    def write(self, states: Tensor, stream: Tensor) -> None:
        self._counted("write", states, stream)

    def contributions(self, changes: Tensor) -> Tensor:
        return self._counted("contributions", changes)

    def image(self, states: Tensor) -> Tensor:
        return self._counted("image", states)

    def pattern(self, normed: Tensor) -> Tensor:
        return self._counted("pattern", normed)

    def _counted(self, name: str, *given: Tensor | Queries | None) -> Any:
        compute = getattr(super(), name)
        if torch.is_grad_enabled():  # the way back needs what was computed
            return compute(*given)
        key = (name, *map(_shape, given))
        if key in self.known:
            work, made = self.known[key]
            self.meter.work += work
            return (
                None if made is None else torch.empty(made.shape, dtype=made.dtype, device="meta")
            )
        before = self.meter.work
        made = compute(*given)
        self.known[key] = self.meter.work - before, made
        return made


def _norm(norm: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Return a norm that is only computed where a gradient goes back through it."""

    def normed(stream: Tensor) -> Tensor:
        return norm(stream) if torch.is_grad_enabled() else stream

    return normed


def _shape(value: object) -> object:
    """Return what of a value decides over the work: the shapes and types of its tensors."""
    if isinstance(value, Tensor):
        return value.shape, value.dtype
    if isinstance(value, Queries | Linear):
        return tuple(map(_shape, vars(value).values()))
    return value if isinstance(value, int) else type(value)


class _ProductMode(TorchDispatchMode):
    """Counts matrix products by the formulas of `torch.utils.flop_counter`."""

    def __init__(self, meter: Meter) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.meter = meter

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.overloadpacket in flop_registry:
            flops = flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=result)
            self.meter.work += Work(products=flops)
        return result


class _AttentionMode(TorchFunctionMode):
    """Counts attention's own two products apart, whichever way torch would compute them."""

    def __init__(self, meter: Meter) -> None:
        super().__init__()
        self.meter = meter

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.scaled_dot_product_attention:
            return _ShapeOfAttention.apply(self.meter, *args)  # type: ignore[no-untyped-call]
        return func(*args, **(kwargs or {}))


class _ShapeOfAttention(torch.autograd.Function):
    """What attention returns, and its gradient, without numbers."""

    @staticmethod
    def forward(ctx: Any, meter: Meter, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        outputs = query.shape[-1] + value.shape[-1]
        flops = 2 * query.shape[:-1].numel() * key.shape[-2] * outputs
        meter.work += Work(attention=flops)
        ctx.meter, ctx.flops, ctx.given = meter, flops, (query, key, value)
        return query.new_empty(*query.shape[:-1], value.shape[-1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        ctx.meter.work += Work(attention=ctx.flops * 5 // 2)
        return None, *map(torch.empty_like, ctx.given)
