"""Shared types of bodies: strict, and without unknown fields."""

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


class Body(BaseModel):
    """A body, or a part of one."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def _plain(text: str) -> str:
    if _CONTROL.search(text):
        raise ValueError("it holds a control character")
    return text


ShortText = Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_plain)]
LongText = Annotated[str, Field(max_length=2000), AfterValidator(_plain)]
Amount = Annotated[float, Field(strict=True, ge=0, le=1e12, allow_inf_nan=False)]
Flag = Annotated[bool, Field(strict=True)]
