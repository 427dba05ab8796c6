"""The layers' products in the precision that a study names; everything around them is fp32."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Products(Protocol):
    """Batched products of (M, ., .) tensors into fp32 buffers."""

    def layer(self, bias: Tensor, h: Tensor, weight: Tensor, out: Tensor) -> None:
        """Out = h weight + bias."""

    def gradient(self, left: Tensor, right: Tensor, out: Tensor) -> None:
        """Out = left right."""


class SinglePrecision:
    """fp32; or tf32, which is a switch of the library (`reproducible`)."""

    def layer(self, bias: Tensor, h: Tensor, weight: Tensor, out: Tensor) -> None:
        """Out = h weight + bias."""
        torch.baddbmm(bias, h, weight, out=out)

    def gradient(self, left: Tensor, right: Tensor, out: Tensor) -> None:
        """Out = left right."""
        torch.bmm(left, right, out=out)


class BFloat16:
    """bf16 factors, as `torch.autocast` takes them; the library adds up in fp32 and the buffers stay fp32."""

    def layer(self, bias: Tensor, h: Tensor, weight: Tensor, out: Tensor) -> None:
        """Out = h weight + bias."""
        out.copy_(torch.bmm(h.bfloat16(), weight.bfloat16())).add_(bias)

    def gradient(self, left: Tensor, right: Tensor, out: Tensor) -> None:
        """Out = left right."""
        out.copy_(torch.bmm(left.bfloat16(), right.bfloat16()))


PRODUCTS: dict[str, Products] = {"fp32": SinglePrecision(), "tf32": SinglePrecision(), "bf16": BFloat16()}
