"""Renders templates. Every text of the catalogue and of people is escaped."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from serving.api.operators.pages.rules import key, moment, words


def rendered(template: str, values: Mapping[str, Any]) -> str:
    """Return a page."""
    return _ENVIRONMENT.get_template(template).render(values)


def _web(address: str | None) -> str:
    """Return an address that leads to a web page; empty for others."""
    return address if address is not None and address.startswith(("http://", "https://")) else ""


_ENVIRONMENT: Final = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
_ENVIRONMENT.globals.update(words=words, key=key)
_ENVIRONMENT.filters.update(moment=moment, web=_web)
