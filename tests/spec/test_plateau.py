"""Claims about the rule that ends a training: losses whose answer can be worked out by hand."""

from __future__ import annotations

import math

import pytest

from tuner.spec.plateau import is_flat


@pytest.mark.parametrize(
    ("losses", "flat"),
    [
        ([1.0, 0.9, 0.8], False),  # the newest third brought 11 %
        ([1.0, 0.9, 0.89], True),  # 1.1 %
        ([1.0, 0.9, 0.882], False),  # exactly 2 %
        ([1.0] * 9, True),
        ([1.0, 0.5, 0.6, 0.7, 0.8, 0.9], True),  # what rises again is flat
        ([1.0], False),
        ([], False),
        ([math.nan, math.inf, 0.5], False),  # nothing finite to compare with
        ([1.0, math.inf, math.nan], True),
        ([0.5, 0.0, 0.0], True),
        ([0.5, 0.1, 0.0], False),
        ([-1.0, -2.0, -2.1], False),  # losses below 0: anything lower goes on
        ([-1.0, -2.0, -2.0], True),
    ],
)
def test_the_rule_worked_out_by_hand(losses: list[float], flat: bool) -> None:
    """The newest third against all before it, and 2 %."""
    assert is_flat(losses) is flat


def test_a_power_law_is_followed_until_half_as_much_again_brings_too_little() -> None:
    """Of c + n^-a the newest third brings (c + n^-a) / (c + (2n/3)^-a): the rule ends where that passes 0.98."""
    for floor, power in ((0.0, 0.1), (0.2, 0.5), (0.05, 1.0)):
        curve = [floor + n**-power for n in range(1, 3001)]
        first = next((n for n in range(1, 3001) if is_flat(curve[:n])), None)
        ratio = {n: curve[n - 1] / curve[n - math.ceil(n / 3) - 1] for n in range(2, 3001)}
        assert first == next((n for n in ratio if ratio[n] > 0.98), None)
    assert not is_flat([n**-0.1 for n in range(1, 3001)]), "without a floor 1.5 times as much brings 4 % for ever"
