"""Who may use the service: secrets of 256 random bits, of which only the SHA-256 is kept.

A token is for scripts, a session for a browser that logged in with a token, a login for a link that is opened once.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import Any, Final, Literal, final

from sqlalchemy import Connection, Row, insert, select, update

from tuner.errors import InputError
from tuner.ledger.audit import note_down
from tuner.ledger.database import Database
from tuner.ledger.leases import database_time
from tuner.ledger.schema import token

Role = Literal["read", "launch", "admin"]
Kind = Literal["token", "session", "login"]
ROLES: Final[tuple[Role, ...]] = ("read", "launch", "admin")  # each may do what those before it may
SESSION_SECONDS: Final = 12 * 3600.0
LOGIN_SECONDS: Final = 600.0
_USED_EVERY: Final = 60.0  # seconds; a read is not to write each time


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """A token without its secret.

    Attributes:
        id: in this ledger.
        kind: token, session or login.
        name: whose it is.
        role: read, launch or admin.
        created_at, expires_at: Unix time in seconds.
        used_at: when it was used last, to a minute; None where it never was.
        revoked_at: None as long as it was not revoked.
        parent: of a session, the token it was made with; None where that was a login.
    """

    id: int
    kind: Kind
    name: str
    role: Role
    created_at: float
    expires_at: float
    used_at: float | None
    revoked_at: float | None
    parent: int | None

    def may(self, role: Role) -> bool:
        """Whether it may do what that role may."""
        return ROLES.index(self.role) >= ROLES.index(role)


@final
class Tokens:
    """The tokens, in the ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def new(self, name: str, role: Role, seconds: float, actor: str, kind: Kind = "token") -> tuple[str, TokenRecord]:
        """A new secret, shown this once, and its record.

        Args:
            name: whose it is.
            role: what it may do.
            seconds: until it expires.
            actor: who makes it.
            kind: `login` for a link that is opened once.

        Raises:
            InputError: the role is none, or the time is not positive.
        """
        if role not in ROLES:
            raise InputError(f"role: must be one of {', '.join(ROLES)}, got {role}.")
        if not seconds > 0 or not name.strip():
            raise InputError("a token must have a name and a time to live of more than 0 seconds.")
        with self._database.writing() as connection:
            secret, made = _made(connection, kind, name, role, seconds, None)
            note_down(connection, actor, "token", name, {"id": made.id, "kind": kind, "role": role})
        return secret, made

    def check(self, secret: str) -> TokenRecord | None:
        """Whose secret it is; None where it is unknown, expired, revoked, or a login, which only logs in."""
        with self._database.reading() as connection:
            found = _valid(connection, secret)
            now = database_time(connection)
        if found is None or found.kind == "login":
            return None
        if found.used_at is None or now - found.used_at > _USED_EVERY:
            with self._database.writing() as connection:
                connection.execute(update(token).where(token.c.id == found.id).values(used_at=now))
        return found

    def log_in(self, secret: str) -> tuple[str, TokenRecord] | None:
        """A session for a token's or login's secret; a login is used up by it. None where the secret is not valid."""
        with self._database.writing() as connection:
            found = _valid(connection, secret)
            if found is None or found.kind == "session":
                return None
            now = database_time(connection)
            changed = {"revoked_at": now} if found.kind == "login" else {"used_at": now}
            unused = update(token).where(token.c.id == found.id, token.c.revoked_at.is_(None))
            if not connection.execute(unused.values(**changed)).rowcount:
                return None  # the same link was opened twice at once
            seconds = SESSION_SECONDS if found.kind == "login" else min(SESSION_SECONDS, found.expires_at - now)
            parent = None if found.kind == "login" else found.id
            return _made(connection, "session", found.name, found.role, seconds, parent)

    def revoke(self, number: int, actor: str) -> bool:
        """Let a token, and the sessions made with it, count no longer. Whether there was one."""
        with self._database.writing() as connection:
            row = connection.execute(select(token).where(token.c.id == number).with_for_update()).first()
            if row is None:
                return False
            now = database_time(connection)
            its = (token.c.id == number) | (token.c.parent == number)
            connection.execute(update(token).where(its, token.c.revoked_at.is_(None)).values(revoked_at=now))
            note_down(connection, actor, "revoke", row.name, {"id": number})
        return True

    def all(self) -> list[TokenRecord]:
        """Every one that was ever made, oldest first."""
        with self._database.reading() as connection:
            return [_record(row) for row in connection.execute(select(token).order_by(token.c.id))]


def _made(
    connection: Connection, kind: Kind, name: str, role: Role, seconds: float, parent: int | None
) -> tuple[str, TokenRecord]:
    secret = f"tuner_{secrets.token_urlsafe(32)}"
    now = database_time(connection)
    row = {"kind": kind, "sha256": _digest(secret), "name": name, "role": role, "parent": parent}
    connection.execute(insert(token), [{**row, "created_at": now, "expires_at": now + seconds}])
    found = connection.execute(select(token).where(token.c.sha256 == row["sha256"])).one()
    return secret, _record(found)


def _valid(connection: Connection, secret: str) -> TokenRecord | None:
    # Looked up by the digest of 256 random bits: the time that an index takes tells nothing of use.
    row = connection.execute(select(token).where(token.c.sha256 == _digest(secret))).first()
    if row is None or row.revoked_at is not None or row.expires_at <= database_time(connection):
        return None
    return _record(row)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _record(row: Row[Any]) -> TokenRecord:
    return TokenRecord(
        row.id,
        row.kind,
        row.name,
        row.role,
        row.created_at,
        row.expires_at,
        row.used_at,
        row.revoked_at,
        row.parent,
    )
