"""Rules for the way back through plain transformers, set by hooks: oracles of estimators.

They share nothing with the engine: gradients of the model's own modules are changed where they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import torch
from torch import nn

from support.anatomy import Anatomy, hooked


@contextmanager
def gradient_rules(model: nn.Module, estimator: str) -> Iterator[None]:
    """Have autograd go back through a model by the rules of an estimator; by none for others."""
    with ExitStack() as stack:
        for change in RULES.get(estimator, ()):
            stack.enter_context(change(model))
        yield


def _norms(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if type(module).__name__.endswith("Norm")]


@contextmanager
def constant_divisors(model: nn.Module) -> Iterator[None]:
    """Norms divide by constants."""

    def forward_of(norm: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
        def forward(stream):
            if type(norm).__name__.endswith("LayerNorm"):
                weight, bias = getattr(norm, "weight", 1.0), getattr(norm, "bias", 0.0)
                centred = stream - stream.mean(-1, keepdim=True)
                variance = centred.var(-1, correction=0, keepdim=True)
                divisor = (variance + getattr(norm, "eps", 1e-5)).sqrt()
                return centred / divisor.detach() * weight + bias
            epsilon = norm.eps if hasattr(norm, "eps") else norm.variance_epsilon
            divisor = (stream.pow(2).mean(-1, keepdim=True) + epsilon).sqrt()
            weight = norm.weight + type(norm).__name__.startswith("Gemma")
            return stream / divisor.detach() * weight

        return forward

    with ExitStack() as stack:
        for norm in _norms(model):
            stack.enter_context(patch.object(norm, "forward", forward_of(norm)))
            stack.enter_context(patch.object(norm, "divides_by_constant", True, create=True))
        yield


@contextmanager
def _softmax(model: nn.Module, softmax: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
    """Attention by plain operations, with another softmax."""
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        with patch.object(nn.functional, "softmax", lambda scores, **_: softmax(scores)):
            yield
    finally:
        model.set_attn_implementation(before)


def constant_attention(model: nn.Module):
    """Attention weights are constants."""
    return _softmax(model, lambda scores: scores.softmax(-1).detach())


class _Softened(torch.autograd.Function):
    @staticmethod
    def forward(ctx, scores):
        ctx.save_for_backward(scores)
        return scores.softmax(-1)

    @staticmethod
    def backward(ctx, gradient):
        (scores,) = ctx.saved_tensors
        weights = (scores / 2).softmax(-1)
        jacobian = torch.diag_embed(weights) - weights[..., :, None] * weights[..., None, :]
        return (jacobian @ gradient[..., None])[..., 0]


def softened_attention(model: nn.Module):
    """The Jacobian of the softmax is taken at temperature 2."""
    return _softmax(model, _Softened.apply)


def _less(values: torch.Tensor, share: torch.Tensor | float) -> torch.Tensor:
    return values * share + values.detach() * (1 - share)


def divided_heads(model: nn.Module):
    """A quarter of the gradient goes to queries and keys, half to values."""

    def hook_of(projection):
        share = torch.tensor([0.5 if r == "value" else 0.25 for r in projection.readers])[:, None]

        def hook(module, args, output):
            parts = output.unflatten(-1, projection.dims)
            return _less(parts, share).flatten(-len(projection.dims))

        return projection.module.register_forward_hook(hook)

    layers = Anatomy(model).layers
    return hooked(hook_of(projection) for layer in layers for projection in layer.projections)


def halved_gates(model: nn.Module):
    """Half of the gradient goes back through a product of gate and hidden units."""
    gated = [layer for layer in Anatomy(model).layers if len(layer.inner) == 2]
    return hooked(
        layer.outer.register_forward_pre_hook(lambda module, args: (_less(args[0], 0.5),))
        for layer in gated
    )


@contextmanager
def constant_slopes(model: nn.Module) -> Iterator[None]:
    """Activations are multiplications with constants."""

    def sloped(function):
        def activation(hidden):
            return hidden * torch.where(hidden == 0, 0.5, function(hidden) / hidden).detach()

        return activation

    with ExitStack() as stack:
        for module in model.modules():
            for name in ("act_fn", "act", "activation_fn"):
                if hasattr(module, name):
                    function = getattr(module, name)
                    stack.callback(setattr, module, name, function)
                    delattr(module, name)
                    setattr(module, name, sloped(function))
        yield


RULES = {
    "relp": (constant_divisors, constant_attention, constant_slopes, halved_gates),
    "gim": (constant_divisors, softened_attention, divided_heads, halved_gates),
}
