"""Charts as plain SVG: axes, and marks placed by value. Colours and fonts are the stylesheet's."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tuner.report.markup import Html, cut, element, join, text

LEFT, RIGHT, TOP, BOTTOM = 70.0, 14.0, 12.0, 44.0  # of the plotting area, in user units
STYLE = Path(__file__).with_name("chart.css")
# Viridis (van der Walt & Smith 2015), read in any scheme and by colour-blind eyes; low loss is dark blue.
_RAMP = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))


@dataclass(frozen=True, slots=True)
class Axis:
    """Where values lie between 0 and 1.

    Attributes:
        title: what is measured, with its unit.
        low, high: the ends; a value beyond them is put on the edge.
        log: equal ratios are equally far apart.
        names: of a category's values, put side by side in this order; ends and log are then unused.
        ticks: the places that are marked, where the axis is not to choose them.
        whole: it holds these places alone.
    """

    title: str
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    names: tuple[str, ...] = ()
    ticks: tuple[float, ...] = ()
    whole: bool = False

    def at(self, value: float) -> float:
        """The share of the way from the low end to the high one; of a category's number, its middle."""
        if self.names:
            return (value + 0.5) / len(self.names)
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, self._within(value)))
        return (value - low) / (high - low) if high > low else 0.5

    def freedom(self) -> float:
        """The free share of the axis around each of its values; 0 where it holds any number."""
        count = len(self.names) or (len(self.ticks) if self.whole else 0)
        return 0.55 / count if count else 0.0

    def _within(self, value: float) -> float:
        return min(max(value, self.low), self.high) if not math.isnan(value) else self.high

    def marks(self, most: int = 9) -> list[tuple[float, str]]:
        """Places between 0 and 1, each with its label; about `most` of them."""
        if self.names:
            return [(self.at(place), cut(name, 14)) for place, name in enumerate(self.names)]
        values = self.ticks or (_log_ticks(self.low, self.high, most) if self.log else _ticks(self.low, self.high))
        return [(self.at(value), _label(value)) for value in values if self.low <= value <= self.high]


def axis_of(values: Iterable[float], title: str, log: bool | None = None) -> Axis:
    """An axis that holds the values with some room; log where they are positive and span a factor of 4, unless said.

    The worst tenth is let lie on the edge where it would press all others together: what diverges is far away.
    """
    known = sorted(value for value in values if math.isfinite(value))
    if not known:
        return Axis(title)
    low, high, most = known[0], known[-1], known[int(0.9 * (len(known) - 1))]
    if low > 0 and high > 30 * most:
        high = 3 * most
    log = low > 0 and high / low > 4 if log is None else log and low > 0
    if log:
        room = (high / low) ** 0.04 if high > low else 1.5
        return Axis(title, low / room, high * room, True)
    space = 0.05 * (high - low) or abs(high) * 0.1 or 1.0
    return Axis(title, low - space if low < 0 or low > space else 0.0, high + space)


@dataclass(slots=True)
class Chart:
    """One drawing; marks are added in the order in which they lie above each other.

    Attributes:
        name: what it shows, for those who hear the page.
        x, y: the axes.
        width, height: in user units; the page scales it.
    """

    name: str
    x: Axis
    y: Axis
    width: float = 1000.0
    height: float = 340.0
    left: float = LEFT
    marks: list[Html] = field(default_factory=list)

    def px(self, value: float) -> float:
        """A value of the x axis, in user units."""
        return self.left + self.x.at(value) * (self.width - self.left - RIGHT)

    def py(self, value: float) -> float:
        """A value of the y axis, in user units; up is more."""
        return self.height - BOTTOM - self.y.at(value) * (self.height - TOP - BOTTOM)

    def line(self, points: Sequence[tuple[float, float]], kind: str, **more: object) -> None:
        """A line through values."""
        self.marks.append(element("path", d=self.trace(points), class_=kind, **more))

    def trace(self, points: Sequence[tuple[float, float]]) -> str:
        """The path of a line through values; several may be joined into one mark."""
        return "M" + "L".join(f"{self.px(x):.1f} {self.py(y):.1f}" for x, y in points)

    def dot(self, x: float, y: float, radius: float, aside: float = 0.0, **more: object) -> None:
        """A dot at a pair of values.

        On an axis of some values alone it is drawn `aside` of its own, -0.5 to 0.5: equal ones stay distinct.
        """
        right = aside * self.x.freedom() * (self.width - self.left - RIGHT)
        up = aside * self.y.freedom() * (self.height - TOP - BOTTOM)
        self.marks.append(element("circle", cx=self.px(x) + right, cy=self.py(y) - up, r=radius, **more))

    def level(self, y: float, label: str) -> None:
        """A dashed horizontal line with its name."""
        height = self.py(y)
        self.marks.append(element("path", d=f"M{self.left} {height:.1f}H{self.width - RIGHT}", class_="level"))
        self.marks.append(
            element("text", label, x=self.width - RIGHT - 4, y=height - 5, class_="note", text_anchor="end")
        )

    def svg(self) -> Html:
        """The drawing."""
        content = join([element("title", self.name), self._x_axis(), self._y_axis(), *self.marks])
        return drawing(content, self.name, self.width, self.height)

    def _x_axis(self) -> Html:
        bottom, parts = self.height - BOTTOM, []
        for share, label in self.x.marks(int(self.width / 75)):
            x = self.left + share * (self.width - self.left - RIGHT)
            parts.append(element("path", d=f"M{x:.1f} {TOP}V{bottom}", class_="grid"))
            parts.append(element("text", label, x=x, y=bottom + 16, text_anchor="middle"))
        middle = (self.left + self.width - RIGHT) / 2
        parts.append(element("text", self.x.title, x=middle, y=self.height - 8, class_="axis", text_anchor="middle"))
        return join(parts)

    def _y_axis(self) -> Html:
        parts = []
        for share, label in self.y.marks(int(self.height / 40)):
            y = self.height - BOTTOM - share * (self.height - TOP - BOTTOM)
            parts.append(element("path", d=f"M{self.left} {y:.1f}H{self.width - RIGHT}", class_="grid"))
            parts.append(element("text", label, x=self.left - 7, y=y + 4, text_anchor="end"))
        middle = (TOP + self.height - BOTTOM) / 2
        turned = f"translate(13 {middle:.1f}) rotate(-90)"
        return join([*parts, element("text", self.y.title, transform=turned, class_="axis", text_anchor="middle")])


def drawing(content: Html, name: str, width: float, height: float) -> Html:
    """An `svg` element that scales with its place."""
    box, least = f"0 0 {width:.0f} {height:.0f}", f"min-width: {min(width, 800) * 0.75:.0f}px"
    return element("svg", content, class_="chart", viewBox=box, style=least, role="img", aria_label=name)


def standalone(svg: Html) -> str:
    """A drawing as a file of its own, its stylesheet inside."""
    opened = svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    head, tag, rest = opened.partition(">")
    style = f"<style>{STYLE.read_text(encoding='utf-8')}</style>"
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{head}{tag}{style}<rect class="paper"/>{rest}\n'


def bars(name: str, rows: Sequence[tuple[str, float, str]], width: float = 1000.0, left: float = 150.0) -> Html:
    """Horizontal bars from zero, each with its name before and its words behind it."""
    most = max((value for _, value, _ in rows), default=0.0) or 1.0
    room, parts = width - left - 170, [element("title", name)]
    for place, (label, value, words) in enumerate(rows):
        y, length = 6 + 26.0 * place, max(1.5, room * value / most)
        parts.append(element("text", cut(label, 24), x=left - 8, y=y + 14, text_anchor="end"))
        parts.append(element("rect", x=left, y=y, width=length, height=19, rx=3, class_="bar"))
        parts.append(element("text", words, x=left + length + 7, y=y + 14, class_="note"))
    return drawing(join(parts), name, width, 12 + 26 * len(rows))


def colour(share: float) -> str:
    """From 0 (dark blue) to 1 (yellow)."""
    place = min(max(share, 0.0), 1.0) * (len(_RAMP) - 1)
    first = min(int(place), len(_RAMP) - 2)
    mixed = (round(a + (b - a) * (place - first)) for a, b in zip(_RAMP[first], _RAMP[first + 1], strict=True))
    return "#" + "".join(f"{part:02x}" for part in mixed)


def key(low: str, high: str) -> Html:
    """What the colours mean, as a strip."""
    stops = ", ".join(colour(step / 8) for step in range(9))
    strip = element("span", class_="strip", style=f"background: linear-gradient(90deg, {stops})")
    return element("p", text(low), strip, text(high), class_="key")


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers."""
    step = _round((high - low) / 5)
    first = math.ceil(low / step - 1e-9)
    return [step * place for place in range(first, first + 12) if step * place <= high + 1e-9 * step]


def _round(step: float) -> float:
    if not step > 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(step))
    return next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= step * 0.999)


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    """As many of 1, 1.5, 2, 3, 5, 7 times the powers of ten as there is room for; even places where that is one."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for factors in ((1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        found = [factor * 10.0**power for power in range(first, last + 1) for factor in factors]
        within = [value for value in found if low <= value <= high]
        if len(within) <= most:
            return within if len(within) > 1 else _ticks(low, high)
    return within[:: -(-len(within) // most)]


def _label(value: float) -> str:
    if value and not 1e-4 <= abs(value) < 1e5:
        mantissa, power = f"{value:.1e}".split("e")
        return f"{mantissa.removesuffix('.0')}e{int(power)}"
    return f"{value:.6g}"
