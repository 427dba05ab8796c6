"""The claim that no request, however odd, is more than the service can take."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case
from serving import ADDRESS, Service

from tuner.service.options import Limits

EXAMPLES = int(os.environ.get("TUNER_FUZZ_EXAMPLES", "8"))  # of each route
OF_FUZZING = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
# It may refuse what fits the description: a name that is taken, a study that is none.
NOT_CLAIMED = [schemathesis.checks.positive_data_acceptance]


def operations(service: Service) -> Iterator[Any]:
    """Every route of the description, but streams, which end when their client does."""
    description = service.ask("GET", "openapi.json").json()
    assert description["openapi"].startswith("3.1")
    schema = schemathesis.openapi.from_dict(description)
    schema.app = service.app
    for found in schema.get_all_operations():
        operation = found.ok()
        if not operation.path.endswith("/events"):
            yield operation


def test_no_request_is_more_than_the_service_can_take(service_of: Callable[..., Service]) -> None:
    """Every answer has a status, a type and a form that the description knows; none is a mistake of ours."""
    service = service_of(limits=Limits(requests_per_second=1e6, burst=10**6, helper_seconds=5))
    headers = {"Authorization": f"Bearer {service.secrets['admin']}", "Host": ADDRESS.partition("://")[2]}
    seen = 0
    for operation in operations(service):

        @OF_FUZZING
        @given(case=operation.as_strategy(), is_known=st.booleans())
        def check(case: Case, is_known: bool) -> None:
            service.submit()
            if is_known and case.path_parameters and "name" in case.path_parameters:
                case.path_parameters["name"] = "tiny"
            case.call_and_validate(headers=headers, excluded_checks=NOT_CLAIMED)

        check()
        seen += 1
    assert seen > 25
