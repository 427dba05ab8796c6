"""The slots of a Ray cluster, as the bridge of one study counts them; imports nothing of Ray."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tuner.execution.carried import Unit
from tuner.execution.joining import Joining

NODE_DIGITS: Final = 12  # of a node's number, that tell it from the others


@dataclass(eq=False, slots=True)
class Slot:
    """An actor as the bridge sees it.

    Attributes:
        actor: Ray's handle.
        node: the first digits of its node's number; None until it has begun.
        unit: what it trains.
        given: digests of the files that its node has.
        silent: seconds since it last answered, of those that this process was awake.
        asked: whether a pulse is awaited.
    """

    actor: Any
    node: str | None = None
    unit: Unit | None = None
    given: set[str] = field(default_factory=set)
    silent: float = 0.0
    asked: bool = False


def capacity(nodes: Iterable[Mapping[str, Any]], how: Joining, refused: Container[str]) -> int:
    """Slots that nodes have room for, if nobody else used them, at most as many as are wanted; none on refused ones."""
    needs = [(name, each) for name, each in (("CPU", how.share.cpu), ("GPU", how.share.gpu)) if each]
    usable = [node["Resources"] for node in nodes if node["Alive"] and node["NodeID"] not in refused]
    there = sum(min(int(node.get(name, 0.0) / each + 1e-6) for name, each in needs) for node in usable)
    return there if how.most is None else min(there, how.most)


def living(slots: Sequence[Slot], nodes: Iterable[Mapping[str, Any]]) -> tuple[int, int]:
    """Slots that have begun on nodes that are there, and on how many nodes."""
    there = {node["NodeID"][:NODE_DIGITS] for node in nodes if node["Alive"]}
    on = [slot.node for slot in slots if slot.node in there]
    return len(on), len(set(on))


def wanted(there: int, granted: int | None, most: int | None, demand: bool) -> int:
    """Actors to have.

    Args:
        there: slots that the cluster has room for, `most` at the most.
        granted: of those, that the study may have now; None for all.
        most: slots that there may ever be; None for any number.
        demand: whether to ask for one more, so that Ray knows that there is work for another node.
    """
    more = demand and (most is None or there < most)
    return (there if granted is None else min(there, granted)) + more


def above(slots: Sequence[Slot], granted: int, wanted: int) -> list[Slot]:
    """Slots to let go: idle ones beyond the grant, and the latest that wait for room beyond those that are wanted."""
    begun = [slot for slot in slots if slot.node is not None]
    idle = [slot for slot in begun if slot.unit is None][: max(0, len(begun) - granted)]
    waiting = [slot for slot in slots if slot.node is None]
    return idle + waiting[max(0, wanted - len(begun) + len(idle)) :]
