"""Inverted dropout (Srivastava et al. 2014) in a stack: the masks of the compiled step, made where they are used.

Shapes: M models, B rows of a batch, O a layer's padded units, W words of 64 bits to a row.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tuner.learning import draws
from tuner.learning.layout import padded_sizes
from tuner.learning.stacked.staged import Staged
from tuner.spec.architecture import Architecture
from tuner.spec.work import Trial

GOLDEN = 0x9E3779B97F4A7C15  # splitmix64's, see draws.dropout_key
MIXING = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
LAST_SHIFT = 31
UNITS = 4  # to a word
MIDDLE = 2**15


def _signed(value: int) -> int:
    """The number modulo 2**64 as int64 has it: torch multiplies and adds no others."""
    value %= 2**64
    return value - 2**64 if value >= 2**63 else value


class Masks:
    """The factors of one batch: for each hidden layer 0 where a unit is left out, else 1 / (share that is kept).

    Args:
        trials: of the models.
        shapes: their architectures.
        sizes: the pack's padded units of every layer.
        rows: of a batch, made even.
        device: where they are used.

    Attributes:
        factors: by the layer's place among the sizes, (M, B, O).

    A word is a function of its position and of one number for each model and batch, its origin: only that comes from
    the host, so that a graph can hold all the rest.
    """

    def __init__(
        self,
        trials: Sequence[Trial],
        shapes: Sequence[Architecture],
        sizes: tuple[int, ...],
        rows: int,
        device: torch.device,
    ) -> None:
        self._trials = trials
        self._words = [
            [size // UNITS * shape.hidden(n) for n, size in enumerate(padded_sizes(shape.sizes))] for shape in shapes
        ]
        hidden = [place for place in range(len(sizes)) if shapes[0].hidden(place)]
        self._places = {place: self._static(place, rows, sizes[place] // UNITS).to(device) for place in hidden}
        self._mixed = {place: torch.zeros_like(words) for place, words in self._places.items()}
        self._aside = {place: torch.zeros_like(words) for place, words in self._places.items()}
        self._lanes = {place: words.view(torch.int16) for place, words in self._mixed.items()}
        self._kept = {place: torch.zeros_like(lanes, dtype=torch.bool) for place, lanes in self._lanes.items()}
        self.factors = {place: torch.zeros(lanes.shape, device=device) for place, lanes in self._lanes.items()}
        self._origin = torch.zeros(len(trials), 1, 1, dtype=torch.int64, device=device)
        self._staged, self._keys = Staged(self._origin), (0, [0] * len(trials))
        dropped = [draws.dropped(trial.point.dropout) for trial in trials]
        self._least = (
            torch.tensor(dropped, device=device, dtype=torch.int32).sub_(MIDDLE).to(torch.int16).view(-1, 1, 1)
        )
        self._scale = torch.tensor([65_536 / (65_536 - count) for count in dropped], device=device).view(-1, 1, 1)

    def _static(self, place: int, rows: int, words: int) -> Tensor:
        """What each word's state adds to the origin (M, B, W)."""
        row_B1, word_W = torch.arange(rows).view(-1, 1), torch.arange(words)
        counts = [row_B1 * sum(own) + sum(own[:place]) + word_W for own in self._words]
        return torch.stack(counts).mul_(_signed(GOLDEN))

    def prepare(self, epoch: int, position: int) -> None:
        """What comes from the host before a batch that begins at a position of an epoch."""
        if self._keys[0] != epoch:
            self._keys = epoch, [draws.dropout_key(trial.seed, epoch) for trial in self._trials]
        firsts = (position * sum(words) + 1 for words in self._words)
        origins = [_signed(key + first * GOLDEN) for key, first in zip(self._keys[1], firsts, strict=True)]
        self._staged.buffer().copy_(torch.tensor(origins).view(-1, 1, 1))
        self._staged.send()

    def draw(self) -> None:
        """Fill the factors."""
        for place, static in self._places.items():
            words, aside = self._mixed[place], self._aside[place]
            torch.add(static, self._origin, out=words)
            for shift, factor in MIXING:
                self._fold(words, aside, shift)
                words.mul_(_signed(factor))
            self._fold(words, aside, LAST_SHIFT)
            # int16 has 16 bits as -32768 to 32767: the topmost one is turned, so that the order is that of the bits.
            lanes = self._lanes[place].bitwise_xor_(-MIDDLE)
            torch.ge(lanes, self._least, out=self._kept[place])
            torch.mul(self._kept[place], self._scale, out=self.factors[place])

    @staticmethod
    def _fold(words: Tensor, aside: Tensor, shift: int) -> None:
        """Each word becomes word ^ (word >> shift), zeros shifted in."""
        torch.bitwise_right_shift(words, shift, out=aside)
        words.bitwise_xor_(aside.bitwise_and_(2 ** (64 - shift) - 1))
