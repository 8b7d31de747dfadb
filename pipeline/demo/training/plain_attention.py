"""The layers of open_clip's transformers with attention written out: the same numbers, trained in half the time.

In bfloat16 on a CPU the gradients of PyTorch's fused attention take longer than all other layers together.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def through_layers(layers: Iterable[Any], x: Tensor, mask: Tensor | None = None) -> Tensor:
    """What open_clip's residual attention blocks make of ``x`` (batch, tokens, width).

    ``mask`` (tokens, tokens) is added to the attention before its softmax.
    """
    for layer in layers:
        x = x + _attention(layer.attn, layer.ln_1(x), mask)
        x = x + layer.mlp(layer.ln_2(x))
    return x


def _attention(attention: Any, x: Tensor, mask: Tensor | None) -> Tensor:
    import torch
    from torch.nn import functional

    batch, tokens, width = x.shape
    heads, size = attention.num_heads, width // attention.num_heads
    parts = functional.linear(x, attention.in_proj_weight, attention.in_proj_bias)
    parts = parts.view(batch, tokens, 3, heads, size).permute(2, 0, 3, 1, 4).reshape(3, batch * heads, tokens, size)
    query, key, value = parts.unbind(0)
    weights = torch.bmm(query * size**-0.5, key.transpose(1, 2))
    if mask is not None:
        weights = weights + mask
    seen = torch.bmm(torch.softmax(weights, -1).to(value.dtype), value)
    seen = seen.view(batch, heads, tokens, size).transpose(1, 2).reshape(batch, tokens, width)
    return functional.linear(seen, attention.out_proj.weight, attention.out_proj.bias)
