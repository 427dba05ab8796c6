"""Space files as people, editors and attackers get them wrong."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

from damage import damaged

from tuner.spec.data import DataSpec
from tuner.spec.space import SearchSpace
from tuner.spec.study import FinalSpec, SearchSpec, StudySpec

KEYS = sorted(
    {name for block in (StudySpec, DataSpec, SearchSpace, SearchSpec, FinalSpec) for name in block.model_fields}
    | {"type", "low", "high", "log", "step", "choices", "when", "value", "fixed", "float", "int", "categorical"}
)
WORDS = (
    "float", "int", "categorical", "tpe", "random", "sobol", "gp", "grid", "halving", "hyperband", "median", "none",
    "minmax", "standard", "mse", "bce", "relu", "tanh", "auto", "cpu", "cuda", "cuda:0", "cuda:99999999999999999999",
    "mps", "fp32", "tf32", "bf16", "sklearn:digits", "sklearn:iris", "sklearn:none", "true", "false", "yes", "no", "on",
    "off", "null", "~", "10m", "1.5h", "0s", "1e400h", "9" * 400 + "h",
)  # fmt: skip
NUMBERS = (
    "0", "-0", "-1", "1", "2", "3", "7", "0.1", "0.3", "0.5", "1e-3", "1e-9", "1e-300", "5e-324", "1e308", "1e400",
    "-1e400", ".nan", ".inf", "-.inf", "nan", "inf", "0x10", "0o17", "010", "1_000", "1e5", "100000", "1048577",
    "9223372036854775807", "9223372036854775808", "1.0", "+1", "1e", "1,000", "1:30", "2026-11-24", "٣", "³", "１２",
)  # fmt: skip
LONG_NUMBERS = ("9" * 30, "9" * 400, "9" * 5000, "0." + "0" * 390 + "1")
STRANGE = (
    "", "''", '""', "[]", "{}", "[[]]", "[1, a, null]", "{a: 1}", "{type: float}", "{type: grid, low: 1, high: 2}",
    "|\n  x", ">-\n  x\n  y", '"\\ud800"', '"\\0"', '"\\x1b[2J"', '"a\\nb"', '"\\U0001F600"', "é", "名前",
    "\u202eabc", "a\u2028b", "&x 1", "*x", "&x [*x]", "!!python/object/apply:os.system [x]", "!!python/name:os.system",
    "!!binary aGk=", "!!int a", "!a%0Ab c", "!<tag:yaml.org,2002:float> 1", "<<: 1", "? x", "- 1", "@x", "`x`", "%x",
    "#", ": :", "'", '"', "{", "[", "}", "../../../etc/passwd", "/dev/zero", "~", "~nobody/x.csv", ".",
    "x" * 300, "a" * 100_000, "a " * 5_000,
)  # fmt: skip
CHARACTERS = "{}[]:,-#&*!|>'\"%@`?\t\n\r 0aé\0\x07\x1b\x7f\x85\ufeff\ufffe\u2028\u202e😀"


def _line_deleted(text: str, chance: random.Random) -> str:
    lines = text.split("\n")
    del lines[chance.randrange(len(lines))]
    return "\n".join(lines)


def _line_doubled(text: str, chance: random.Random) -> str:
    lines = text.split("\n")
    line = chance.choice(lines)
    lines.insert(chance.randrange(len(lines)), line)
    return "\n".join(lines)


def _lines_swapped(text: str, chance: random.Random) -> str:
    lines = text.split("\n")
    one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    return "\n".join(lines)


def _line_moved(text: str, chance: random.Random) -> str:
    """Its indentation is another one."""
    lines = text.split("\n")
    at = chance.randrange(len(lines))
    lines[at] = chance.choice((" ", "  ", "    ", "\t", "")) + lines[at].lstrip() * chance.choice((1, 1, 2))
    return "\n".join(lines)


def _value_changed(text: str, chance: random.Random) -> str:
    places = list(re.finditer(r"(?<=: )[^\s,{}\[\]#]+|(?<=[\[ ])[\w.-]+(?=[,\]])", text))
    if not places:
        return text
    place = chance.choice(places)
    new = chance.choice(chance.choice((WORDS, NUMBERS, NUMBERS, LONG_NUMBERS, STRANGE)))
    return text[: place.start()] + new + text[place.end() :]


def _block_changed(text: str, chance: random.Random) -> str:
    """All that a key says, a mapping or list as well."""
    places = list(re.finditer(r"(?<=: )[\[{][^\]}\n]*[\]}]", text))
    if not places:
        return text
    place = chance.choice(places)
    return (
        text[: place.start()]
        + chance.choice((*STRANGE, *NUMBERS, *LONG_NUMBERS, *WORDS, _range(chance)))
        + text[place.end() :]
    )


def _range(chance: random.Random) -> str:
    """A distribution of the right form, with any numbers."""
    parts = [f"type: {chance.choice(('float', 'int'))}", f"low: {chance.choice(NUMBERS)}"]
    parts += [f"high: {chance.choice(NUMBERS)}"]
    parts += [chance.choice(("log: true", "log: false", f"step: {chance.choice(NUMBERS)}", ""))]
    if chance.random() < 0.3:
        parts = ["type: categorical", f"choices: [{', '.join(chance.choices(NUMBERS, k=chance.randint(0, 4)))}]"]
    return "{" + ", ".join(part for part in parts if part) + "}"


def _key_changed(text: str, chance: random.Random) -> str:
    place = chance.choice(list(re.finditer(r"\b[a-z_]+(?=:)", text)) or [None])
    if place is None:
        return text
    return text[: place.start()] + chance.choice((*KEYS, *STRANGE, "bottlenec")) + text[place.end() :]


def _key_added(text: str, chance: random.Random) -> str:
    lines = text.split("\n")
    at = chance.randrange(len(lines) + 1)
    key, value = chance.choice((*KEYS, "x", '"a\\nb"', "k" * 2_000)), chance.choice((*WORDS, *NUMBERS, _range(chance)))
    lines.insert(at, " " * chance.choice((0, 2, 2, 4)) + f"{key}: {value}")
    return "\n".join(lines)


def _nested(text: str, chance: random.Random) -> str:
    depth, (opens, closes) = chance.choice((5, 19, 25, 3_000)), chance.choice(("[]", "{}", ("{a: ", "}"), ("- ", "")))
    return f"{text}\nx: {opens * depth}{closes * depth}\n"


def _bomb(text: str, chance: random.Random) -> str:
    """Ten levels of ten aliases each."""
    levels = ["a0: &a0 x"]
    levels += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 10)]
    return "\n".join(levels) + "\n" + text if chance.random() < 0.5 else text + "\n".join(levels)


def _character(text: str, chance: random.Random) -> str:
    at = chance.randrange(len(text) + 1)
    return text[:at] + chance.choice(CHARACTERS) + text[at + chance.choice((0, 0, 1)) :]


def _second_document(text: str, chance: random.Random) -> str:
    return f"{text}\n---\n{text}" if chance.random() < 0.5 else f"%YAML 1.1\n---\n{text}..."


TEXTS: tuple[Callable[[str, random.Random], str], ...] = (
    *(_line_deleted, _line_doubled, _lines_swapped, _line_moved, _character) * 2,
    *(_value_changed, _block_changed, _key_changed, _key_added) * 4,
    *(_nested, _bomb, _second_document),
)
BYTES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    damaged,
    lambda content, _: b"\xef\xbb\xbf" + content,
    lambda content, _: content.decode().encode("utf-16"),
    lambda content, _: content.replace(b"\n", b"\r\n"),
    lambda content, chance: content[: chance.randrange(len(content))] + b"\xff" + content[1:],
)


def mutated(content: bytes, chance: random.Random) -> bytes:
    """One to three mistakes."""
    text = content.decode()
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        text = chance.choice(TEXTS)(text, chance) if text else text
    raw = text.encode("utf-8", "surrogatepass")
    return chance.choice(BYTES)(raw, chance) if raw and chance.random() < 0.15 else raw
