"""What befalls bytes: bits flip, ends are cut off, stretches are lost, doubled, overwritten or moved."""

from __future__ import annotations

import random
from collections.abc import Callable

Damage = Callable[[bytes, random.Random], bytes]


def flipped(content: bytes, chance: random.Random) -> bytes:
    """One bit."""
    at = chance.randrange(len(content))
    return content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :]


def cut(content: bytes, chance: random.Random) -> bytes:
    """The end is missing."""
    return content[: chance.randrange(len(content))]


def lost(content: bytes, chance: random.Random) -> bytes:
    """Some bytes are missing."""
    at = chance.randrange(len(content))
    return content[:at] + content[at + chance.randint(1, 64) :]


def inserted(content: bytes, chance: random.Random) -> bytes:
    """Some bytes are new."""
    at = chance.randrange(len(content) + 1)
    return content[:at] + chance.randbytes(chance.randint(1, 8)) + content[at:]


def doubled(content: bytes, chance: random.Random) -> bytes:
    """Some bytes stand twice."""
    at, length = chance.randrange(len(content)), chance.randint(1, 64)
    return content[: at + length] + content[at:]


def overwritten(content: bytes, chance: random.Random) -> bytes:
    """Some bytes are all zeros, all ones, or others: a lost page, or the length of something made huge."""
    at, length = chance.randrange(len(content)), chance.choice((1, 2, 4, 8, 64))
    new = chance.choice((b"\0" * length, b"\xff" * length, b"\x7f" + b"\xff" * (length - 1), chance.randbytes(length)))
    return content[:at] + new + content[at + length :]


def digits_changed(content: bytes, chance: random.Random) -> bytes:
    """A number written in digits is another one, mostly a huge one."""
    places = [place for place, byte in enumerate(content[:4096]) if 48 <= byte <= 57]
    if not places:
        return overwritten(content, chance)
    at = chance.choice(places)
    new = chance.choice((b"", b"-1", b"0", b"1e308", b"nan", b"9" * 3, b"9" * 12, b"9" * 30, b"1" + b"0" * 12))
    return content[:at] + new + content[at + 1 :]


DAMAGES: tuple[Damage, ...] = (flipped, cut, lost, inserted, doubled, overwritten, digits_changed)


def damaged(content: bytes, chance: random.Random) -> bytes:
    """One of the kinds, or two at once; the content is never the one that was given."""
    while True:
        other = content
        for _ in range(chance.choice((1, 1, 2))):
            other = chance.choice(DAMAGES)(other, chance) if other else other
        if other != content:
            return other
