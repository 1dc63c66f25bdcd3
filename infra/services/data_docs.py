"""Where the Data Docs of batches lie: one folder each in <var>/data_docs, the newest few, and their addresses."""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from infra.private_files.staging import staged
from infra.services.endpoints import Endpoints

MAX_PAGES = 20
"""How many batches' pages are kept: browsers and disks are not for thousands."""
PAGE = "index.html"
NAME = re.compile(r"[A-Za-z0-9_-]{1,200}")
"""Names of folders that are shown. Drafts begin with a dot, so that no reader is ever led into one."""
_ABOUT = "about.json"


@dataclass(frozen=True)
class About:
    """What is known of a batch's page without reading it."""

    batch_id: str
    dataset: str
    passed: bool
    judged_at: str
    """ISO 8601, UTC."""


def place(var: Path) -> Path:
    """The folder of all pages."""
    return var / "data_docs"


def name(batch_id: str) -> str:
    """The batch's folder, and its part of the address: a batch may be named by its owner, a folder may not."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", batch_id)[:200]


def address(var: Path, endpoints: Endpoints, batch_id: str) -> str | None:
    """Where a person finds the page of a batch, or None when there is none (any more)."""
    page = place(var) / name(batch_id) / PAGE
    if not page.is_file():
        return None
    return f"{endpoints.docs_page}/{name(batch_id)}/" if endpoints.docs_page else page.as_uri()


@contextmanager
def replaced(var: Path, about: About) -> Iterator[Path]:
    """A folder to write a batch's page into; it takes the place of the old one when all is written."""
    folder = place(var)
    folder.mkdir(parents=True, exist_ok=True)
    with staged(folder) as stage:
        draft, old = stage / "new", stage / "old"
        draft.mkdir()
        yield draft
        (draft / _ABOUT).write_text(json.dumps(asdict(about)))
        final = folder / name(about.batch_id)
        if final.exists():
            final.rename(old)
        draft.rename(final)


def list_pages(folder: Path) -> list[tuple[Path, About]]:
    """The batches that have a page, the newest first. One that is taken away at this moment is left out."""
    found = []
    for about in folder.glob(f"*/{_ABOUT}"):
        try:
            if NAME.fullmatch(about.parent.name):
                found.append((about.parent, About(**json.loads(about.read_text()))))
        except (OSError, ValueError, TypeError):
            continue
    return sorted(found, key=lambda entry: entry[1].judged_at, reverse=True)


def prune(var: Path, keep: int = MAX_PAGES) -> None:
    """Take away all but the newest. Drafts of killed runs go when the next page is written."""
    for old, _ in list_pages(place(var))[keep:]:
        shutil.rmtree(old, ignore_errors=True)
