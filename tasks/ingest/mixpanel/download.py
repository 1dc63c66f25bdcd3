"""Downloads a day of events or all profiles of a project into a file of lines."""

import gzip
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, Final

from models.ingest.segment.interactions import allowed
from tasks.ingest.mixpanel.client import BrokenAnswerError, MixpanelClient, MixpanelError, blocks

_FAST: Final = 1
"""The level of gzip: the file is read once and removed."""
_MOST_BYTES: Final = 256 << 20
"""The most bytes of one page of profiles."""
_ALWAYS: Final = ("$last_seen",)


@dataclass(frozen=True)
class Download:
    """A file of lines, gzip."""

    path: Path
    digest: str
    """The SHA-256 of its unpacked content: the same content is the same batch, however it was packed."""
    empty: bool


def download_day(client: MixpanelClient, project: int, day: date, path: Path) -> Download:
    """Download the events of a day, as often as the answer breaks off."""
    dates = {"from_date": day.isoformat(), "to_date": day.isoformat()}
    query: dict[str, str | int] = {"project_id": project, **dates, "time_in_ms": "true"}

    def lines() -> Iterator[bytes]:
        with client.answer("export", "/api/2.0/export", query) as answer:
            last = b""
            for block in blocks(answer):
                yield block
                last = _last_line(last + block)
        _check_end(last)

    return client.attempt(lambda: _written(path, lines()))


def download_profiles(
    client: MixpanelClient, project: int, traits: Iterable[str], consent: Iterable[str], path: Path
) -> Download:
    """Download all profiles, page by page, each as a line with the allowed `traits`, `consent` and `$last_seen`."""
    names = [*dict.fromkeys([*allowed([*traits]), *consent, *_ALWAYS])]

    def lines() -> Iterator[bytes]:
        page, session = 0, None
        while True:
            form: dict[str, str | int] = {"output_properties": json.dumps(names)}
            if session is not None:
                form |= {"session_id": session, "page": page}
            answer = client.attempt(partial(_page, client, project, form))
            results, session = answer["results"], answer["session_id"]
            yield b"".join(_profile(one) for one in results)
            page += 1
            if len(results) < int(answer["page_size"]):
                return

    return _written(path, lines())


def _page(client: MixpanelClient, project: int, form: dict[str, str | int]) -> dict[str, Any]:
    with client.answer("query", "/api/query/engage", {"project_id": project}, form) as received:
        text = bytearray()
        for block in blocks(received):
            text += block
            if len(text) > _MOST_BYTES:
                raise MixpanelError(f"A page of profiles has more than {_MOST_BYTES >> 20} MiB. Name fewer traits.")
    try:
        answer = json.loads(text)
        usable = answer["status"] == "ok" and isinstance(answer["results"], list) and int(answer["page_size"]) > 0
        usable = usable and "session_id" in answer
    except (ValueError, KeyError, TypeError, RecursionError):
        usable = False
    if not usable:
        raise BrokenAnswerError("Mixpanel answered no page of profiles")
    return dict(answer)


def _profile(result: Any) -> bytes:
    return json.dumps(result, separators=(",", ":"), sort_keys=True).encode() + b"\n"


def _written(path: Path, content: Iterator[bytes]) -> Download:
    """Write the content, in place of what an earlier attempt wrote."""
    digest, size = hashlib.sha256(), 0
    with gzip.open(path, "wb", compresslevel=_FAST) as file:
        for block in content:
            file.write(block)
            digest.update(block)
            size += len(block)
    return Download(path, digest.hexdigest(), not size)


def _last_line(text: bytes) -> bytes:
    """Return the last line of a text, whose end may be missing."""
    return text[text.rstrip(b"\n").rfind(b"\n") + 1 :]


def _check_end(line: bytes) -> None:
    """Raise BrokenAnswerError if the last line is no event: Mixpanel reports a fault there, after HTTP 200."""
    try:
        event = json.loads(line) if line.strip() else {"event": None}
    except (ValueError, RecursionError):
        event = None
    if not (isinstance(event, dict) and "event" in event):
        raise BrokenAnswerError("The export of Mixpanel ended with a line that is no event")
