"""Who may use the service, who did what, and who asks."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Path, Query
from starlette.exceptions import HTTPException
from starlette.responses import Response

from tuner.answers.service import AuditItem, AuditList, NewToken, TokenItem, TokenList
from tuner.ledger.tokens import TokenRecord
from tuner.service.rest.answering import PREFIX, PROBLEMS, Caller, Most, Studies, answered
from tuner.service.rest.bodies import TokenWish

router = APIRouter(prefix=PREFIX, tags=["tokens"], responses=PROBLEMS)
DAY: Final = 86400.0


@router.get("/me", response_model=TokenItem)
def me(caller: Caller) -> Response:
    """The token, or session, that asks."""
    return answered(token_item(caller))


@router.get("/tokens", response_model=TokenList)
def list_tokens(studies: Studies) -> Response:
    """Every token, session and login that was ever made."""
    return answered(TokenList(tokens=tuple(token_item(each) for each in studies.ledger.tokens.all())))


@router.post("/tokens", response_model=NewToken, status_code=201)
def new_token(asked: TokenWish, studies: Studies, caller: Caller) -> Response:
    """Make a token; its secret is shown this once."""
    secret, made = studies.ledger.tokens.new(asked.name, asked.role, asked.days * DAY, caller.name)
    return answered(NewToken(secret=secret, token=token_item(made)), 201)


@router.delete("/tokens/{number}", status_code=204, response_class=Response)
def revoke(number: Annotated[int, Path(ge=1, le=2**62)], studies: Studies, caller: Caller) -> Response:
    """Let a token, and the sessions made with it, count no longer."""
    if not studies.ledger.tokens.revoke(number, caller.name):
        raise HTTPException(404)
    return Response(status_code=204)


@router.get("/audit", response_model=AuditList)
def audit(
    studies: Studies,
    subject: Annotated[str | None, Query(max_length=200, description="Only of this study, token or data set.")] = None,
    limit: Most = 100,
) -> Response:
    """Who asked the service for what, the newest first."""
    found = studies.ledger.audit.newest(limit, subject)
    return answered(AuditList(lines=tuple(AuditItem.model_validate(each, from_attributes=True) for each in found)))


def token_item(each: TokenRecord) -> TokenItem:
    """A token as it is answered."""
    return TokenItem(
        id=each.id,
        kind=each.kind,
        name=each.name,
        role=each.role,
        created_at=each.created_at,
        expires_at=each.expires_at,
        used_at=each.used_at,
        revoked_at=each.revoked_at,
    )
