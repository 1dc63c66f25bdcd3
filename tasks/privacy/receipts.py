"""Writes signed receipts of requests, and checks them."""

import json
from datetime import datetime
from pathlib import Path
from typing import Final

from sqlalchemy import select

from infra.configuration.settings import Settings
from infra.database.schema.privacy_schema import privacy_requests
from infra.database.schema.schema import promotions
from infra.installation import Installation
from infra.keys import credentials
from models.errors import TailorbirdError
from models.primitives.json_types import JsonObject

_SIGNATURE: Final = "signature"


def write_receipt(installation: Installation, number: int, file: Path) -> JsonObject:
    """Write the receipt of a request as JSON, signed with the installation's key, and return it.

    `learned_from_them` has the promoted versions whose models learned before the erasure was done: they hold
    pseudonyms until they are deleted. Raises TailorbirdError for an unknown number, or a file that exists.
    """
    with installation.engine.connect() as connection:
        chosen = select(privacy_requests).where(privacy_requests.c.request_id == number)
        request = connection.execute(chosen).mappings().first()
        if request is None:
            raise TailorbirdError(f"There is no request {number}. `tailorbird privacy list` shows all.")
        done = request["done_at"]
        before = select(promotions.c.model_version).distinct().order_by(promotions.c.model_version)
        versions = connection.execute(before.where(promotions.c.promoted_at <= done) if done else before).scalars()
        content: JsonObject = json.loads(json.dumps(dict(request), default=datetime.isoformat))
        learned = request["kind"] == "erase" and request["forgotten_at"] is None
        content["learned_from_them"] = list(versions) if learned else []
    content["installation"] = credentials.public_key(installation.settings)
    signed = {**content, _SIGNATURE: credentials.sign(installation.settings, _bytes(content)).hex()}
    try:
        with file.open("x") as stream:
            stream.write(json.dumps(signed, indent=1) + "\n")
    except OSError as error:
        raise TailorbirdError(f"{file} cannot be written: {error.strerror}. Name a new file with --to.") from None
    return signed


def check_receipt(settings: Settings, file: Path) -> JsonObject:
    """Return a receipt that an installation's trusted key signed; raises TailorbirdError for any other file."""
    try:
        content: JsonObject = json.loads(file.read_text())
        signature = bytes.fromhex(content.pop(_SIGNATURE))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise TailorbirdError(f"{file} is no receipt of a request, or is incomplete.") from None
    credentials.verify(settings, _bytes(content), signature)
    return content


def _bytes(content: JsonObject) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
