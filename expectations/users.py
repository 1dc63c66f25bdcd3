"""Defines the expectations on users."""

from dataclasses import replace

from expectations.rules import RowRule, marked, missing, unreadable
from models import columns
from models.ingest.source_config import LONGEST_ID, USER_ID_TOO_LONG

LONG_ID = replace(
    marked("user_id_too_long", f"a user id of more than {LONGEST_ID} characters", USER_ID_TOO_LONG),
    mostly=0.9,
)

RULES: tuple[RowRule, ...] = (missing(columns.USER_KEY, "the user has no id"), LONG_ID, unreadable(columns.CONSENT_AT))

PROFILE_BOUNDS: dict[str, tuple[float | None, float | None]] = {
    "rows": (1, None),
    "quarantined_share": (None, 0.2),
}
