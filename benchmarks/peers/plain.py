"""One trial as an expert writes it in plain PyTorch: data in memory, fused AdamW, no `.item()` inside an epoch."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Any

from workloads import Job, splits


@lru_cache(maxsize=1)
def resident(job: Job) -> Any:
    """The splits, loaded once in a process that trains with one thread."""
    import torch

    torch.set_num_threads(1)
    return splits(job)


def network(features: int, point: dict[str, Any]) -> Any:
    """The autoencoder of a point, as nn.Sequential."""
    from torch import nn

    from tuner.spec.architecture import encoder_sizes

    sizes = encoder_sizes(features, point["depth"], point["width"], point["bottleneck"])
    kinds = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}
    layers: list[nn.Module] = []
    for half in (sizes, sizes[::-1]):
        for inputs, outputs in pairwise(half):
            layers += [nn.Linear(inputs, outputs), kinds[point["activation"]]()]
        layers.pop()
    return nn.Sequential(*layers)


def epochs(job: Job, point: dict[str, Any]) -> Iterator[tuple[float, float]]:
    """Train, and yield every epoch's training and validation loss."""
    import torch

    train, held_out = resident(job)
    model = network(train.shape[1], point)
    optimizer = torch.optim.AdamW(model.parameters(), lr=point["learning_rate"], weight_decay=0.0, fused=True)
    criterion = torch.nn.MSELoss()
    for _ in range(job.load.epochs):
        total = torch.zeros(())
        for index in torch.randperm(len(train)).split(point["batch_size"]):
            rows = train[index]
            optimizer.zero_grad(set_to_none=True)
            loss = criterion(model(rows), rows)
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(rows)
        with torch.no_grad():
            value = criterion(model(held_out), held_out).item()
        yield total.item() / len(train), value
