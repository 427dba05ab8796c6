"""The names that a declaration may choose among; free of pydantic, for workers read them too.

The compiled step has the activations and losses in this order (`learning/compiled/model.hpp`), and a build is refused
where the two differ.
"""

from __future__ import annotations

from typing import Literal

Activation = Literal["relu", "leaky_relu", "elu", "selu", "gelu", "silu", "tanh", "sigmoid"]
Kind = Literal["plain", "denoising", "sparse", "variational"]
Norm = Literal["none", "layer"]
Schedule = Literal["constant", "cosine", "linear"]
Loss = Literal["mse", "bce"]
Step = Literal["auto", "compiled", "torch"]
MOST_DEPTH = 32  # hidden layers on each side
