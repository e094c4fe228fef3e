"""Prediction of a request's work: the engine itself runs on torch's meta device.

On the meta device, tensors have shapes but no numbers, and operators compute nothing.
`predicted_work` runs the engine there on the fewest prompts possible and scales the counts: for
given sizes of the pieces, the work is proportional to the number of prompts.
`torch.utils.flop_counter` counts FLOPs, a matrix product of sizes m × k and k × n as 2 m k n. A
*layer-token* is one token of one run through a layer: half of it is the attention, half the MLP.

The two products inside attention, queries with keys and weights with values, are counted separately
and in full, although causality masks half of them, because libraries differ in whether they compute
(and count) that half. Norms, activations and exponentials are not counted: they are linear in the
tokens.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from cntbench.engine.influence import influence
from cntbench.engine.optimal_constants import TYPICAL_STEPS, Losses
from cntbench.engine.request import Choice, Piece, Request
from cntbench.models.blocks import Attention, Block
from cntbench.models.decoder import Decoder, Stage
from cntbench.models.heads import Queries, applied
from cntbench.models.maps import Linear, Norm
from cntbench.models.precision import moved


@dataclass(frozen=True)
class Work:
    """An amount of work.

    Parameters
    ----------
    attention_tokens, mlp_tokens
        Tokens for which the attention, or the MLP, of a layer is computed.
    products
        FLOPs of matrix products, without the two inside attention.
    attention
        FLOPs of the two products inside attention.
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
        Exact but for two counts. The fit of constants counts as if every source took
        `TYPICAL_STEPS`, a measured mean, or all steps if those are fewer: then that is an upper
        bound. The backward pass of attention, in gradient estimates and fits, counts as two
        and a half times its forward pass.
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
    sample = MeteredRequest(
        **vars(request)
        | {
            "model": meter.attached(request.model),
            "prompts": request.prompts.take(slice(fewest)),
            "meter": meter,
            "whole": request,
        }
    )
    # Inference mode would hide composite operators from the counter.
    work = meter.counted(lambda: influence.__wrapped__(sample))  # type: ignore[attr-defined]
    for steps in request.fits:
        work += _fit(meter, sample, steps)
    return Work(*(amount * count // len(sample.prompts) for amount in vars(work).values()))


def _fit(meter: Meter, request: Request, steps: int) -> Work:
    """Return the work of fitting all constants, group by group of sources.

    Both halves of the prompts together are all of them.
    """
    losses = Losses(request.model, request.prompts, request.memory_budget, request.ablated)
    width = max(block.width for block in request.model.blocks)

    def evaluated(sources: Sequence[int]) -> Work:
        constants = torch.empty(len(sources), width, dtype=request.model.dtype, device="meta")
        return meter.counted(lambda: losses.of(torch.tensor(sources, dtype=torch.long), constants))

    # Each group runs the clean prompts besides its own sources.
    clean = evaluated(())
    forward = evaluated(request.ablated) + clean * (len(losses.groups) - 1)
    backward = Work(products=forward.products, attention=forward.attention * 5 // 2)
    # Zero and the mean forward; the start and the steps forward and backward.
    return forward * 2 + (forward + backward) * (1 + min(steps, TYPICAL_STEPS))


class Meter:
    """Counts the work of a decoder on the meta device.

    Without gradients, a block runs only once for arguments of the same shapes; later calls count
    the same work and return an empty tensor of the same shape.
    """

    def __init__(self) -> None:
        self.work = Work()
        self.known: dict[object, tuple[Work, Tensor]] = {}
        self._kinds: dict[object, type[_Metered]] = {}

    def attached(self, model: Decoder) -> Decoder:
        """Return the decoder on the meta device, with blocks that report to this meter."""
        model = moved(model, "meta")
        stages = (
            Stage(_MeteredNorm(stage.norm), tuple(map(self._metered, stage.blocks)))
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
        """Return the counted block; blocks of one shape share their known counts."""
        shapes = (type(block), *(_shape(value) for value in vars(block).values()))
        if shapes not in self._kinds:
            names = {"meter": self, "known": {}}
            self._kinds[shapes] = type("MeteredBlock", (_Metered, type(block)), names)
        metered: Any = self._kinds[shapes](**vars(block))
        return cast(Block, metered)


@dataclass(frozen=True)
class MeteredRequest(Request):
    """A request that runs one of several equal pieces and counts it for all."""

    meter: Meter = field(default_factory=Meter)
    whole: Request | None = None

    def of_all_prompts(self, choose: Callable[[Request], Choice]) -> Choice:
        """Choose by the request that this one stands for."""
        return choose(self.whole or self)

    def _check_number(self) -> None:
        """Accept any number of prompts, as these represent all."""

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
        """Compute one tensor for each key and shapes, and count the others like it."""
        full_key = key, *map(_shape, arguments)
        if full_key not in self.meter.known:
            before = self.meter.work
            result = compute(*arguments)
            self.meter.known[full_key] = self.meter.work - before, result
            return result
        work, result = self.meter.known[full_key]
        self.meter.work += work
        return torch.empty_like(result)


class _Metered:
    """A block whose work is counted."""

    meter: Meter
    known: dict[object, tuple[Work, Tensor | None]]

    def states(self, normed: Tensor, queries: Queries | None = None) -> Tensor:
        self._count_tokens(normed)
        return self._counted("states", normed, queries)

    def states_apart(self, *streams: Tensor) -> Any:
        self._count_tokens(streams[0][:, 0])  # a token is computed by the experts it is sent to
        return super().states_apart(*streams)  # type: ignore[misc]

    def _count_tokens(self, normed: Tensor) -> None:
        kind = "attention_tokens" if isinstance(self, Attention) else "mlp_tokens"
        self.meter.work += Work(**{kind: normed.shape[:-1].numel()})

    def derivative(self, normed: Tensor, change: Tensor) -> Any:
        self._count_tokens(change)
        return super().derivative(normed, change)  # type: ignore[misc]

    def own_parts(self, normed: Tensor, norm: Callable[[Norm, Tensor], Tensor] = applied) -> Any:
        streams = normed if self.joint else normed[0]  # type: ignore[attr-defined]
        self.meter.work += Work(attention_tokens=streams.shape[:-1].numel())
        return super().own_parts(normed, norm)  # type: ignore[misc]

    def write(self, states: Tensor, stream: Tensor) -> None:
        self._counted("write", states, stream)

    def contributions(self, changes: Tensor) -> Tensor:
        return self._counted("contributions", changes)

    def image(self, states: Tensor) -> Tensor:
        return self._counted("image", states)

    def pattern(self, normed: Tensor) -> Tensor:
        return self._counted("pattern", normed)

    def _counted(self, name: str, *arguments: Tensor | Queries | None) -> Any:
        compute = getattr(super(), name)
        if torch.is_grad_enabled():  # the backward pass needs the computed tensors
            return compute(*arguments)
        key = (name, *map(_shape, arguments))
        if key in self.known:
            work, result = self.known[key]
            self.meter.work += work
            return None if result is None else result.new_empty(result.shape)
        before = self.meter.work
        result = compute(*arguments)
        self.known[key] = self.meter.work - before, result
        return result


@dataclass(frozen=True)
class _MeteredNorm:
    """A norm that is only computed where a gradient goes back through it."""

    norm: Norm

    def __call__(self, stream: Tensor) -> Tensor:
        return self.norm(stream) if torch.is_grad_enabled() else stream

    def frozen(self, stream: Tensor) -> Tensor:
        return self.norm.frozen(stream)

    def derivative(self, stream: Tensor, change: Tensor) -> Tensor:
        return change


def _shape(value: object) -> object:
    """Return the part of a value that determines the work: shapes and dtypes of its tensors."""
    if isinstance(value, Tensor):
        return value.shape, value.dtype
    if isinstance(value, Queries | Linear):
        return tuple(map(_shape, vars(value).values()))
    return value if isinstance(value, int) else type(value)


class _ProductMode(TorchDispatchMode):
    """Counts matrix products with the formulas of `torch.utils.flop_counter`."""

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
    """Counts the two products inside attention separately, whichever kernel torch would use."""

    def __init__(self, meter: Meter) -> None:
        super().__init__()
        self.meter = meter

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.scaled_dot_product_attention:
            return _ShapeOfAttention.apply(self.meter, *args)  # type: ignore[no-untyped-call]
        return func(*args, **(kwargs or {}))


class _ShapeOfAttention(torch.autograd.Function):
    """Output and gradient of attention, without numbers."""

    @staticmethod
    def forward(ctx: Any, meter: Meter, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        outputs = query.shape[-1] + value.shape[-1]
        flops = 2 * query.shape[:-1].numel() * key.shape[-2] * outputs
        meter.work += Work(attention=flops)
        ctx.meter, ctx.flops, ctx.inputs = meter, flops, (query, key, value)
        return query.new_empty(*query.shape[:-1], value.shape[-1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        ctx.meter.work += Work(attention=ctx.flops * 5 // 2)
        return None, *map(torch.empty_like, ctx.inputs)
