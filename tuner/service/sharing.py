"""One cluster for all studies of a service: how many of its slots each of them may have now.

Whoever trains has an equal part, the first in the queue one more where it does not come out even. A study never has
less than one slot, so there must be no more studies than slots; and a grant says how fast a study trains, never what.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final, final

from tuner.api.control import progress_of
from tuner.errors import StudyError
from tuner.execution.choice import Ray
from tuner.ledger.ledger import Ledger
from tuner.ledger.standings import Standing
from tuner.orchestration.progress import Progress

_TRAINS: Final = ("training", "confirming")
_ENDS: Final = ("scoring", "publishing")


@dataclass(frozen=True, slots=True)
class Claim:
    """What a study can use of a cluster.

    Attributes:
        room: slots, as it needs them, that the cluster has room for if nobody else used it; None where it is not known.
        wants: slots at most that it has work for; None where there is no such number.
    """

    room: int | None = None
    wants: int | None = None


def claim_of(now: Progress) -> Claim | None:
    """What a study can use that has come so far; None where it trains elsewhere, or nothing any more."""
    if now.phase in _ENDS or (now.phase in _TRAINS and now.room is None):
        return None
    if now.phase == "confirming" and now.confirmed is not None:
        done, of = now.confirmed
        return Claim(now.room, max(1, of - done))  # a run is trained in one slot at a time
    return Claim(now.room)


def grants(claims: Sequence[Claim], most: int | None) -> list[int | None]:
    """The slots that each may have now, in the order of the queue; None for as many as it gets.

    Args:
        claims: of all studies that train.
        most: slots that they may have together; None for all that the cluster has room for.
    """
    known = max((claim.room for claim in claims if claim.room is not None), default=None)
    wants = [claim.wants for claim in claims]
    found: list[int | None] = []
    for place, claim in enumerate(claims):
        room = claim.room if claim.room is not None else known
        bounds = [bound for bound in (most, room if len(claims) > 1 else None) if bound is not None]
        found.append(divided(min(bounds), wants)[place] if bounds else None)
    return found


def divided(total: int, wants: Sequence[int | None]) -> list[int]:
    """Divide slots evenly: one each at least, none more than it wants, what does not come out even to the first.

    Args:
        total: slots.
        wants: at most, at least one; None for any number.
    """
    given = [1] * len(wants)
    left = total - len(given)
    while left > 0 and (hungry := [n for n, want in enumerate(wants) if want is None or given[n] < want]):
        for n in hungry[:left]:
            given[n] += 1
        left -= len(hungry[:left])
    return given


@final
class Sharing:
    """Grants the slots of the cluster to the studies that run, anew at every look.

    Args:
        ledger: where runs say how far they have come, and read their grants.
        fence: the supervisor's.
        cluster: the cluster; None where studies train on the supervisor's machine, and nothing is granted.
    """

    def __init__(self, ledger: Ledger, fence: int, cluster: Ray | None) -> None:
        self._ledger, self._fence, self._cluster = ledger, fence, cluster

    def has_room(self, running: Iterable[Standing]) -> bool:
        """Whether a slot is left for one more study on the cluster: each of them needs one."""
        most = None if self._cluster is None else self._cluster.most
        return most is None or sum(each.submission.ran_on == "ray" for each in running) < most

    def first(self, running: Iterable[Standing], new: Standing) -> int | None:
        """The slots that a study begins with on the cluster, beside those that run."""
        there = replace(new, submission=replace(new.submission, ran_on="ray"))
        return self._found([*running, there]).get(new.submission.id)

    def grant(self, running: Iterable[Standing]) -> None:
        """Write down what each may have now, where that has changed.

        Raises:
            LedgerError: another supervisor took this one's place.
        """
        there = {standing.submission.id: standing.submission for standing in running}
        for number, slots in self._found(running).items():
            if slots != there[number].granted:
                self._ledger.standings.grant(there[number], self._fence, slots)

    def _found(self, running: Iterable[Standing]) -> dict[int, int | None]:
        if self._cluster is None:
            return {}
        queue = sorted(running, key=lambda each: (each.submission.wanted_at, each.submission.id))
        claims = {each.submission.id: claim for each in queue if (claim := self._claim(each)) is not None}
        return dict(zip(claims, grants(list(claims.values()), self._cluster.most), strict=True))

    def _claim(self, each: Standing) -> Claim | None:
        """None also where it is to end: its slots are the others' as soon as it lets them go."""
        if each.submission.wanted != "run" or each.submission.ran_on != "ray":
            return None
        if each.study_id is not None:
            with suppress(StudyError):
                return claim_of(progress_of(self._ledger, each.study_id))
        return Claim()
