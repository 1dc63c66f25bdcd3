"""Stores the Data Docs of the newest batches, one folder each in <var>/data_docs, and returns their addresses."""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from infra.private_files.folders import staged
from infra.services.endpoints import Endpoints

MAX_PAGES = 20
"""How many batches keep their pages; thousands would be too many for a browser and a disk."""
PAGE = "index.html"
NAME = re.compile(r"[A-Za-z0-9_-]{1,200}")
"""Names of folders that are shown. Drafts begin with a dot, so no reader sees one."""
_ABOUT = "about.json"


@dataclass(frozen=True)
class About:
    """A summary of a batch's page."""

    batch_id: str
    dataset: str
    passed: bool
    judged_at: str
    """ISO 8601, UTC."""


def pages_folder(var: Path) -> Path:
    """Return the folder of all pages."""
    return var / "data_docs"


def folder_name(batch_id: str) -> str:
    """Return the folder of a batch, which is also its part of the address, without special characters."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", batch_id)[:200]


def page_address(var: Path, endpoints: Endpoints, batch_id: str) -> str | None:
    """Return the address of a batch's page; None if there is none, or none any more."""
    page = pages_folder(var) / folder_name(batch_id) / PAGE
    if not page.is_file():
        return None
    return f"{endpoints.docs_page}/{folder_name(batch_id)}/" if endpoints.docs_page else page.as_uri()


@contextmanager
def replace_page(var: Path, about: About) -> Iterator[Path]:
    """Yield a folder for a batch's new page. It replaces the old page at the end of the block."""
    folder = pages_folder(var)
    folder.mkdir(parents=True, exist_ok=True)
    with staged(folder) as stage:
        draft, old = stage / "new", stage / "old"
        draft.mkdir()
        yield draft
        (draft / _ABOUT).write_text(json.dumps(asdict(about)))
        final = folder / folder_name(about.batch_id)
        if final.exists():
            final.rename(old)
        draft.rename(final)


def list_pages(folder: Path) -> list[tuple[Path, About]]:
    """Return the batches that have a page, the newest first. A page that is being deleted is left out."""
    pages = []
    for about in folder.glob(f"*/{_ABOUT}"):
        try:
            if NAME.fullmatch(about.parent.name):
                pages.append((about.parent, About(**json.loads(about.read_text()))))
        except (OSError, ValueError, TypeError):
            continue
    return sorted(pages, key=lambda entry: entry[1].judged_at, reverse=True)


def prune(var: Path, limit: int = MAX_PAGES) -> None:
    """Delete all pages except the newest. The next written page removes the drafts of killed runs."""
    for old, _ in list_pages(pages_folder(var))[limit:]:
        shutil.rmtree(old, ignore_errors=True)
