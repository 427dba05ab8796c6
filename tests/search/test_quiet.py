"""Claims about keeping libraries quiet: what is set for it is set back, whichever threads do it together."""

from __future__ import annotations

import threading
import warnings

import optuna

from tuner.search.loop import quiet_optuna


def test_threads_that_are_quiet_together_leave_all_as_it_was() -> None:
    """The second thread enters while the first is inside, if it can, and leaves after it: neither the filters of
    warnings nor Optuna's verbosity differ then."""
    before = list(warnings.filters), optuna.logging.get_verbosity()
    first_is_in, second_is_in, first_is_out = threading.Event(), threading.Event(), threading.Event()

    def second() -> None:
        first_is_in.wait(10)
        with quiet_optuna():
            second_is_in.set()
            first_is_out.wait(10)

    thread = threading.Thread(target=second)
    thread.start()
    with quiet_optuna():
        first_is_in.set()
        second_is_in.wait(0.3)
    first_is_out.set()
    thread.join(10)
    assert (list(warnings.filters), optuna.logging.get_verbosity()) == before
