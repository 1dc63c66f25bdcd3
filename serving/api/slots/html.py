"""Writes an answer as a fragment of HTML for a CMS. Every text of the catalogue is data and never markup."""

from html import escape
from urllib.parse import urlsplit

from serving.answers.answer import Answer, RankedItem


def fragment(answer: Answer, shown_as: str) -> str:
    """Return a list of links. Its classes are for the style sheet of the page; it has no style and no script."""
    items = "".join(map(_item, answer.items))
    return (
        f'<ul class="tailorbird-slot" data-placement="{escape(answer.placement)}" '
        f'data-recommendation-id="{escape(shown_as)}" data-source="{answer.source}">{items}</ul>'
    )


def _item(item: RankedItem) -> str:
    title = escape(item.title or item.item_id)
    image = f'<img src="{escape(item.image)}" alt="" loading="lazy">' if _is_web(item.image) and item.image else ""
    inside = f'{image}<span class="title">{title}</span>{_price(item)}'
    if item.url and _is_web(item.url):
        inside = f'<a href="{escape(item.url)}">{inside}</a>'
    reason = f'<span class="reason">{escape(item.reason)}</span>' if item.reason else ""
    return f'<li data-item="{escape(item.item_id)}" data-rank="{item.rank}">{inside}{reason}</li>'


def _price(item: RankedItem) -> str:
    if item.price is None:
        return ""
    return f'<span class="price">{item.price:.2f}{f" {escape(item.currency)}" if item.currency else ""}</span>'


def _is_web(address: str | None) -> bool:
    """Return whether a page may link to the address: http, https or a path, and no script."""
    if not address or any(ord(letter) <= ord(" ") for letter in address):
        return False
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") if parts.scheme or parts.netloc else address.startswith("/")
