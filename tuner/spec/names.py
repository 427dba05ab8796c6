"""The names that a declaration may choose among; free of pydantic, for workers read them too.

The compiled step has the activations in this order (`learning/compiled/model.hpp`), and a build is refused where the
two differ; of the losses it has mse, bce, and a third one for all that have terms (`data/terms.py`).
"""

from __future__ import annotations

from typing import Literal

Activation = Literal["relu", "leaky_relu", "elu", "selu", "gelu", "silu", "tanh", "sigmoid"]
Kind = Literal["plain", "denoising", "sparse", "variational"]
Norm = Literal["none", "layer"]
Skip = Literal["none", "linear", "pca"]
Schedule = Literal["constant", "cosine", "linear"]
PlainLoss = Literal["mse", "bce"]
Loss = Literal["mse", "bce", "mixed", "huber", "poisson"]
Step = Literal["auto", "compiled", "torch"]
MOST_DEPTH = 32  # hidden layers on each side
