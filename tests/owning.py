"""The lease that a test's writes need, as a run's or a publisher's do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from tuner.ledger.leases import Purpose
from tuner.ledger.ledger import Ledger


@contextmanager
def owning(ledger: Ledger, study_id: int, purpose: Purpose = "run") -> Iterator[None]:
    """Hold a study's lease, unless this ledger object holds it already."""
    with nullcontext() if (study_id, purpose) in ledger._leases._fences else ledger.lease(study_id, purpose):
        yield
