from typing import Any

import pytest

from infra.prefect_api.client import FlowRun
from infra.prefect_api.flow_runs import describe

RUN: dict[str, Any] = {"name": "monitor", "start_time": "2026-11-28T02:38:11Z", "created_by": None}


@pytest.mark.parametrize(
    ("run", "starter"),
    [
        ({"created_by": {"type": "SCHEDULE"}, "idempotency_key": "scheduled 1"}, "its schedule"),
        (
            {"created_by": {"type": "AUTOMATION", "display_value": "Tailorbird: drift"}},
            "the automation Tailorbird: drift",
        ),
        ({"idempotency_key": "calibration of promotion 3"}, "Tailorbird: calibration of promotion 3"),
        ({}, "a person in Prefect"),
    ],
)
def test_a_run_is_described_by_its_start_and_who_started_it(run: dict[str, Any], starter: str) -> None:
    assert describe(FlowRun.from_json(RUN | run)) == f"monitor (since 2026-11-28 02:38 UTC, started by {starter})"
