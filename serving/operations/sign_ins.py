"""Signs operators in and out. What ends a sign-in is in files, so that it counts for all workers of a machine."""

import hmac
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Final

from serving.events.clock import CLOCK
from serving.http.safe_pages import opened, sealed

FOLDER: Final = "serving/operators"
"""The folder of the files within `var`."""
KEY: Final = "operator-page"
"""Takes the place of an API key in the versions of rules that people store on the page."""
SECONDS: Final = 8 * 3600
"""A sign-in ends after a working day."""
MOST_FAILURES: Final = 5
_WINDOW_SECONDS: Final = 60


def _now() -> float:
    return CLOCK.now().timestamp()


@dataclass(frozen=True, slots=True)
class Operator:
    """A person who signed in, or a browser with the form for it."""

    name: str
    """The author of the rules that this person stores; empty before the sign-in."""
    nonce: str
    """Protects the forms of this browser until its next sign-in."""
    expires: int
    """In epoch seconds, by the database's clock."""


class SignIns:
    """The sign-ins of one installation, on one machine."""

    def __init__(self, password: str, secret: str, folder: Path, clock: Callable[[], float] = _now) -> None:
        """Accept this password. A new password or secret ends all sign-ins and drafts."""
        self._password, self._folder, self._clock = password.encode(), folder, clock
        self.secret = hmac.digest(secret.encode(), self._password, "sha256")
        self.draft_secret = hmac.digest(self.secret, b"draft", "sha256")

    def wait_seconds(self) -> int:
        """Return how long nobody may try a password, after too many wrong ones; 0 if one may."""
        now = self._clock()
        ends = sorted(until for path in self._folder.glob("wrong.*") if (until := _until(path)) > now)
        return ceil(ends[-MOST_FAILURES] - now) if len(ends) >= MOST_FAILURES else 0

    def visitor(self) -> Operator:
        """Return a browser that has not signed in."""
        return Operator("", secrets.token_urlsafe(16), ceil(self._clock()) + SECONDS)

    def sign_in(self, name: str, password: str) -> Operator | None:
        """Return the operator; None for a wrong password. It counts as wrong until it is compared."""
        note = self._note("wrong", self._clock() + _WINDOW_SECONDS, secrets.token_hex(8))
        if not hmac.compare_digest(self._password, password.encode()):
            return None
        note.unlink(missing_ok=True)
        return Operator(name, secrets.token_urlsafe(16), ceil(self._clock()) + SECONDS)

    def cookie(self, operator: Operator) -> str:
        """Return the signed content of the cookie."""
        return sealed(self.secret, json.dumps([operator.name, operator.nonce, operator.expires]).encode())

    def known(self, cookie: str) -> Operator | None:
        """Return the operator of a cookie; None if it is not ours, has expired, or was ended."""
        content = opened(self.secret, cookie)
        if content is None:
            return None
        operator = Operator(*json.loads(content))
        ended = self._path("ended", operator.expires, operator.nonce)
        return None if operator.expires <= self._clock() or ended.exists() else operator

    def end(self, operator: Operator) -> None:
        """Refuse this sign-in's cookie from now on."""
        self._note("ended", operator.expires, operator.nonce)

    def _path(self, what: str, until: float, name: str) -> Path:
        return self._folder / f"{what}.{round(1000 * until)}.{name}"

    def _note(self, what: str, until: float, name: str) -> Path:
        """Store an empty file, whose name states how long it counts; delete those that count no longer."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in self._folder.iterdir():
            if _until(path) <= self._clock():
                path.unlink(missing_ok=True)
        note = self._path(what, until, name)
        note.touch(mode=0o600)
        return note


def _until(path: Path) -> float:
    """Return the moment in the name of a file, which is in milliseconds."""
    return int(path.name.split(".")[1]) / 1000
