"""Runs the application from a bundle folder, without database, cache or MLflow."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from starlette.types import ASGIApp

from infra.configuration.settings import load
from infra.keys.api_keys import LEAST_LETTERS, STANDALONE, ApiKey, all_scopes, hash_of, id_of
from infra.keys.credentials import PSEUDONYM, Pseudonyms, find_secret, variable
from models.errors import TailorbirdError
from serving.answers.service import AnswerService
from serving.api.assembly import build_app
from serving.api.gate.request_log import configured_traces, format_logs
from serving.api.requests.problems import NOT_STORED, ProblemError
from serving.api.startup.warming import drained, model_loaded, reload_failed, settle, warm
from serving.api.state import Parts, State, state_of
from serving.events.impressions import ShownAnswer
from serving.events.message import Message, Receipt
from serving.live.live_scorer import live_scorer
from serving.model.holder import ModelHolder
from serving.model.sources import BundleFolder

KEY: Final = "api-key"
"""The secret with the key of callers."""


class NotStored:
    """Stands for the inbox of a server that stores nothing."""

    async def write(self, *messages: Message) -> list[Receipt]:  # noqa: ARG002
        """Raise ProblemError: nothing is lost in silence."""
        raise ProblemError(NOT_STORED)

    def log(self, shown: ShownAnswer) -> None:
        """Log nothing."""


def of_bundle() -> ASGIApp:
    """Return the application of the bundle in the setting `bundle`. Raises TailorbirdError without its key."""
    format_logs()
    state, folder = bundle_state()
    return build_app(state, partial(_served, state, folder), configured_traces())


def bundle_state() -> tuple[State, Path]:
    """Return the state of a server and its bundle, by the settings. Raises TailorbirdError without its key."""
    settings = load()
    key = find_secret(settings, KEY)
    if key is None or len(key) < LEAST_LETTERS:
        raise TailorbirdError(
            f"Set {variable(KEY)} to a key of at least {LEAST_LETTERS} letters, such as the output of "
            "`openssl rand -hex 32`. Callers send it as `Authorization: Bearer KEY`."
        )
    if not settings.bundle:
        raise TailorbirdError("Set TAILORBIRD_BUNDLE to the folder of a bundle.")
    # Without the installation's key, every user is a new one.
    pseudonyms = Pseudonyms(find_secret(settings, PSEUDONYM) or secrets.token_hex(32))
    own = ApiKey(id_of(key), STANDALONE, all_scopes(["read", "write"]), hash_of(key))
    state = state_of(settings, pseudonyms, own)
    state.keyring.replace([])
    return state, Path(settings.bundle)


@asynccontextmanager
async def opened_bundle(state: State, folder: Path) -> AsyncIterator[None]:
    """Load the bundle and prepare its answers; close them at the end. Raises TailorbirdError without a bundle."""
    models = ModelHolder(BundleFolder(folder), on_loaded=model_loaded, on_failure=reload_failed)
    await asyncio.to_thread(models.open)
    if models.current() is None:
        reason = models.last_failure.detail if models.last_failure else f"There is no bundle in {folder}."
        raise TailorbirdError(f"{reason} Set TAILORBIRD_BUNDLE to the folder of a bundle.")
    async with live_scorer(models, state.placements) as live:
        answers = AnswerService(models, state.placements, None, live)
        await warm(live, state.placements)
        async with answers.running():
            nowhere = NotStored()
            state.parts = Parts(
                answers, nowhere, nowhere, lambda: {"model": True, "fallback": answers.upkeep.best is not None}
            )
            yield


@asynccontextmanager
async def _served(state: State, folder: Path, _app: Any) -> AsyncIterator[None]:
    async with opened_bundle(state, folder):
        settle()
        with drained(state):
            yield
