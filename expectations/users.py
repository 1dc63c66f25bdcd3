"""What the users' file promises."""

from expectations.rules import RowRule, missing
from models import columns

RULES: tuple[RowRule, ...] = (missing(columns.USER_KEY, "the user has no id"),)

PROFILE_BOUNDS: dict[str, tuple[float | None, float | None]] = {
    "rows": (1, None),
    "quarantined_share": (None, 0.2),
}
