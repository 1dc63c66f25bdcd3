"""Shared types of bodies: strict, and without unknown fields."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


class Body(BaseModel):
    """A body, or a part of one."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def _plain(text: str) -> str:
    if _CONTROL.search(text):
        raise ValueError("it holds a control character")
    return text


def _written_out(value: Any) -> Any:
    """Refuse moments as numbers: 20261224 would be a day of 1970."""
    if value is not None and not isinstance(value, str | datetime):
        raise ValueError("write the time as text, such as 2026-12-24T23:00:00Z")
    return value


def _in_utc(moment: datetime) -> datetime:
    """Return the moment in UTC: at the edge of the calendar it may have none."""
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("it is beyond the calendar") from None


ShortText = Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_plain)]
LongText = Annotated[str, Field(min_length=1, max_length=2000), AfterValidator(_plain)]
Amount = Annotated[float, Field(strict=True, ge=0, le=1e12, allow_inf_nan=False)]
Flag = Annotated[bool, Field(strict=True)]
Moment = Annotated[AwareDatetime, BeforeValidator(_written_out), AfterValidator(_in_utc)]
