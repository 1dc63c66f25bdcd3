"""Signs operators in and out. Nothing of it outlives the shop's process."""

import hmac
import json
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Final

from serving.shop.security.signing import opened, sealed

COOKIE: Final = "tailorbird_operator"
SECONDS: Final = 8 * 3600
"""A sign-in ends after a working day."""
MOST_FAILURES: Final = 5
_WINDOW_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Operator:
    """A person who signed in."""

    name: str
    """The author of the rules that this person stores."""
    nonce: str
    """Protects the forms of this sign-in."""
    expires: float
    """By the clock of the process that counts from the machine's start."""


class Sessions:
    """The sign-ins of one run of the shop."""

    def __init__(self, password: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Accept this password. Cookies and drafts are signed with keys of this run."""
        self._clock = clock
        self._password = password.encode()
        self.secret, self.draft_secret = secrets.token_bytes(32), secrets.token_bytes(32)
        self._failures = deque[float](maxlen=MOST_FAILURES)
        self._ended = dict[str, float]()

    def wait_seconds(self) -> int:
        """Return how long nobody may try a password, after too many wrong ones; 0 if one may."""
        if len(self._failures) < MOST_FAILURES:
            return 0
        return max(0, ceil(self._failures[0] + _WINDOW_SECONDS - self._clock()))

    def sign_in(self, name: str, password: str) -> Operator | None:
        """Return the operator; None for a wrong password."""
        if not hmac.compare_digest(self._password, password.encode()):
            self._failures.append(self._clock())
            return None
        return Operator(name, secrets.token_urlsafe(16), self._clock() + SECONDS)

    def cookie(self, operator: Operator) -> str:
        """Return the signed content of the cookie."""
        return sealed(self.secret, json.dumps([operator.name, operator.nonce, operator.expires]).encode())

    def known(self, cookie: str) -> Operator | None:
        """Return the operator of a cookie; None if it is not ours, has expired, or was ended."""
        content = opened(self.secret, cookie)
        if content is None:
            return None
        operator = Operator(*json.loads(content))
        return None if operator.expires <= self._clock() or operator.nonce in self._ended else operator

    def end(self, operator: Operator) -> None:
        """Refuse this sign-in's cookie from now on."""
        now = self._clock()
        self._ended = {nonce: expires for nonce, expires in self._ended.items() if expires > now}
        self._ended[operator.nonce] = operator.expires
