"""Claims about the service's own records: submissions, tokens, data, notes, the audit; on SQLite and Postgres."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import text, update

from tuner.errors import InputError, StudyError
from tuner.ledger.ledger import Ledger
from tuner.ledger.notes import Note
from tuner.ledger.schema import token

DAY = 86_400.0


@pytest.fixture
def ledger(shared: str) -> Iterator[Ledger]:
    opened = Ledger.open(shared)
    yield opened
    opened.close()


def at_once(url: str, act: Callable[[Ledger, int], Any], times: int = 6) -> list[Any]:
    """What came of as many calls, each with a ledger of its own; an error is its text."""

    def call(number: int) -> Any:
        mine = Ledger.open(url)
        try:
            return act(mine, number)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        finally:
            mine.close()

    with ThreadPoolExecutor(times) as threads:
        return list(threads.map(call, range(times)))


def test_the_same_file_is_handed_in_once(shared: str, ledger: Ledger) -> None:
    """Six that come at once with the same name and text are one submission and one audit line; one of them made it."""
    made = at_once(shared, lambda mine, _: mine.submissions.submit("s", "text", "me", idempotency_key="k"))
    assert sorted(is_new for _, is_new in made) == [False] * 5 + [True]
    assert {each.id for each, _ in made} == {ledger.submissions.all()[0].id}
    assert [(line.action, line.subject) for line in ledger.audit.newest()] == [("submit", "s")]


def test_another_declaration_under_a_known_name_or_key_is_refused(ledger: Ledger) -> None:
    """The sentence says what differs; nothing is changed."""
    ledger.submissions.submit("s", "text", "me", idempotency_key="k")
    for name, words, key in (("s", "other", None), ("t", "text", "k")):
        with pytest.raises(StudyError, match=r"was handed in already, with another (declaration|name)"):
            ledger.submissions.submit(name, words, "me", idempotency_key=key)
    ledger.create_study("{}", "u.yaml", "f" * 64, "u", {})
    with pytest.raises(StudyError, match="study u: there is one of that name already"):
        ledger.submissions.submit("u", "text", "me")
    assert [each.name for each in ledger.submissions.all()] == ["s"]


def test_a_wish_is_written_for_the_supervisor_and_for_the_run(ledger: Ledger) -> None:
    """Stop and a larger budget are rows of the submission and of the study; a wish to run begins anew."""
    ledger.submissions.submit("s", "text", "me")
    study = ledger.create_study("{}", "s.yaml", "f" * 64, "s", {})
    ledger.submissions.want("s", "stop", "you")
    asked = ledger.control.wanted(study.id)
    assert asked is not None
    assert (asked.state, ledger.submissions.all()[0].wanted) == ("stop", "stop")
    now = ledger.submissions.want("s", "run", "you", trials=40)
    asked = ledger.control.wanted(study.id)
    assert asked is not None
    assert (asked.state, asked.trials, now.trials, now.outcome) == ("run", 40, 40, None)
    assert [line.action for line in ledger.audit.newest()] == ["run", "stop", "submit"]
    with pytest.raises(StudyError, match="study t: it was not handed in"):
        ledger.submissions.want("t", "run", "you")


def test_a_submission_follows_its_study(ledger: Ledger) -> None:
    """Renamed and deleted with it; one that was never recorded can be withdrawn, and no other."""
    study = ledger.create_study("{}", "s.yaml", "f" * 64, "s", {})
    ledger.submissions.submit("s", "text", "me", adopted=True)
    ledger.submissions.submit("waits", "text", "me")
    ledger.notes.put(study.id, "good", ("a", "b"), "me")
    with ledger.lease(study.id, "run"):
        with pytest.raises(StudyError, match="one of that name was handed in"):
            ledger.rename_study(study.id, "waits", "{}")
        ledger.rename_study(study.id, "t", "{}")
    assert ledger.notes.all() == {"t": Note("good", ("a", "b"))}
    assert [each.name for each in ledger.submissions.all()] == ["t", "waits"]
    with pytest.raises(StudyError, match="study t: it is recorded"):
        ledger.submissions.withdraw("t", "me")
    assert ledger.submissions.withdraw("waits", "me")
    assert not ledger.submissions.withdraw("waits", "me")
    with ledger.lease(study.id, "run"):
        ledger.delete_study(study.id)
    assert (ledger.submissions.all(), ledger.notes.all(), ledger.faults()) == ([], {}, [])


def test_a_note_is_replaced(ledger: Ledger) -> None:
    """The last one counts; a study without one has an empty one; who wrote what is in the audit."""
    study = ledger.create_study("{}", "s.yaml", "f" * 64, "s", {})
    assert ledger.notes.of(study.id) == Note()
    ledger.notes.put(study.id, "first", ("x",), "me")
    ledger.notes.put(study.id, "zweitens \N{SNOWMAN}", (), "you")
    assert ledger.notes.of(study.id) == Note("zweitens \N{SNOWMAN}", ())
    assert [(line.actor, line.body) for line in ledger.audit.newest(subject="s")] == [
        ("you", {"tags": []}),
        ("me", {"tags": ["x"]}),
    ]


def test_a_token_counts_until_it_expires_or_is_revoked(shared: str, ledger: Ledger) -> None:
    """Its secret is nowhere in the database; its sessions end with it; an expired one is as unknown as any other."""
    secret, made = ledger.tokens.new("ci", "launch", DAY, "me")
    session, of_browser = ledger.tokens.log_in(secret) or ("", None)
    assert of_browser is not None
    assert (of_browser.kind, of_browser.role, of_browser.parent) == ("session", "launch", made.id)
    assert ledger.tokens.log_in(session) is None
    found = ledger.tokens.check(secret)
    assert found is not None
    assert (found.may("read"), found.may("launch"), found.may("admin")) == (True, True, False)
    with ledger._database.reading() as connection:
        rows = connection.execute(text("SELECT * FROM tuner_token")).all()
    assert secret not in str(rows)
    assert session not in str(rows)
    other, _ = ledger.tokens.new("other", "read", DAY, "me")
    with ledger._database.writing() as connection:
        connection.execute(update(token).where(token.c.name == "other").values(expires_at=1.0))
    assert ledger.tokens.revoke(made.id, "me")
    assert not ledger.tokens.revoke(99, "me")
    assert [ledger.tokens.check(each) for each in (secret, session, other, "", "tuner_x", "\udcff")] == [None] * 6


def test_a_login_link_is_opened_once(shared: str, ledger: Ledger) -> None:
    """Of six that open it at once one is let in; it is no token."""
    secret, _ = ledger.tokens.new("link", "admin", 600.0, "me", kind="login")
    assert ledger.tokens.check(secret) is None
    opened = at_once(shared, lambda mine, _: mine.tokens.log_in(secret))
    assert sum(each is not None for each in opened) == 1
    assert all(each is None or ledger.tokens.check(each[0]) for each in opened)


@pytest.mark.parametrize(("role", "seconds", "name"), [("root", DAY, "a"), ("read", 0.0, "a"), ("read", DAY, " ")])
def test_a_token_that_cannot_be_is_refused(ledger: Ledger, role: Any, seconds: float, name: str) -> None:
    """One sentence, and none is made."""
    with pytest.raises(InputError):
        ledger.tokens.new(name, role, seconds, "me")
    assert ledger.tokens.all() == []


def test_a_name_means_the_same_data_for_ever(shared: str, ledger: Ledger) -> None:
    """Of those that come at once with other data one is taken, and the same again changes nothing."""
    made = at_once(shared, lambda mine, number: mine.datasets.add("d", f"/root/{number % 2}", 3, "me").path)
    kept = ledger.datasets.all()[0]
    assert sorted(made) == sorted([kept.path] * 3 + [made[1 - int(kept.path[-1])]] * 3)
    assert "there is one of that name already" in made[1 - int(kept.path[-1])]
    for name in ("", "-a", "a/b", "a b", "a" * 65, "ä"):
        with pytest.raises(InputError, match="must begin with a letter or digit"):
            ledger.datasets.add(name, "/data/x", 3, "me")
    assert ledger.datasets.remove("d", "me")
    assert not ledger.datasets.remove("d", "me")
    assert [line.action for line in ledger.audit.newest()] == ["dataset", "dataset"]
