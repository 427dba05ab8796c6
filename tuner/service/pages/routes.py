"""The addresses of all pages."""

from __future__ import annotations

from fastapi import APIRouter

from tuner.service.pages import entering, keeping, launching, studying

router = APIRouter(include_in_schema=False)
for _part in (entering, studying, launching, keeping):
    router.include_router(_part.router)
