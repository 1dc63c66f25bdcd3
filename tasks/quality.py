"""Runs Great Expectations suites on a sample of rows and on a batch's profile."""

import logging
from collections.abc import Sequence
from typing import Any

import great_expectations as gx
import pandas as pd
import pyarrow as pa
from great_expectations.data_context.types.base import ProgressBarsConfig

from models.errors import TailorbirdError

Findings = list[dict[str, Any]]

logging.getLogger("great_expectations").setLevel(logging.WARNING)


class BatchRefusedError(TailorbirdError):
    """A batch whose data are not what they should be, as a whole."""


def validate(suite: Any, rows: pa.Table | pd.DataFrame) -> Findings:
    """What each expectation of the suite found in `rows`: rule id, verdict, how many rows broke it."""
    frame = rows if isinstance(rows, pd.DataFrame) else rows.to_pandas()
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("sample").add_dataframe_asset("rows")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch(batch_parameters={"dataframe": frame})
    return [_finding(suite.name, result) for result in batch.validate(suite, result_format="BASIC").results]


def _finding(suite: str, result: Any) -> dict[str, Any]:
    expectation = result.expectation_config
    found = result.result
    return {
        "suite": suite,
        "rule_id": expectation.meta["rule_id"],
        "expectation": expectation.type,
        "passed": bool(result.success),
        "broken": found.get("unexpected_count"),
        "of": found.get("element_count"),
        "examples": [str(value) for value in found.get("partial_unexpected_list", [])[:3]],
    }


def refusal(findings: Findings) -> str | None:
    """Why the batch is refused, or None when every expectation holds."""
    failed = [
        f"{f['rule_id']} ({f['broken']} of {f['of']}, such as {', '.join(f['examples'])})"
        for f in findings
        if not f["passed"]
    ]
    return f"Its data break what the suite expects: {'; '.join(failed)}." if failed else None


def profile_frame(profiles: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """A batch's profile as one row: its rows, and the share of them that was quarantined."""
    rows, quarantined = (sum(int(profile[name]) for profile in profiles) for name in ("read", "quarantined"))
    return pd.DataFrame([{"rows": rows, "quarantined_share": quarantined / max(rows, 1)}])
