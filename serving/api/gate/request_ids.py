"""Makes ids of requests and of recommendations."""

import os
import re
from typing import Final

_ACCEPTED: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")


def request_id(given: bytes) -> str:
    """Return the caller's own id if it is harmless, else a new one."""
    return given.decode() if given and _ACCEPTED.fullmatch(given) else os.urandom(8).hex()


def recommendation_id() -> str:
    """Return a new id of 128 random bits."""
    return os.urandom(16).hex()
