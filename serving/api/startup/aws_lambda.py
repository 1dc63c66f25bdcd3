"""Answers events of AWS Lambda from a bundle folder: set `serving.api.startup.aws_lambda.handler` as the handler.

Lambda looks the handler up while it starts a process, so the bundle is loaded once, before the first event. Between
two events the process is stopped: nothing here counts on tasks that run in the background.
"""

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import Any, Final

from models.errors import TailorbirdError
from serving.api.gate.workers import prepare

Event = dict[str, Any]
_HANDLER: Final = "handler"
_ENCODED: Final = ".lambda-url."
"""Function URLs have it in their domain. They keep a path as it was sent, and HTTP APIs of API Gateway decode it."""
_FORMAT: Final = "2.0"
_DEFAULT_STAGE: Final = "$default"


class LambdaFunction:
    """The handler: an application that was opened, and its event loop, which runs during events alone."""

    def __init__(self) -> None:
        """Load the bundle of the settings. Raises TailorbirdError without a key, a bundle or the adapter."""
        from serving.api.assembly import build_app
        from serving.api.gate.request_log import configured_traces, format_logs
        from serving.api.startup.standalone import bundle_state, opened_bundle

        format_logs()
        logging.getLogger("mangum").setLevel(logging.WARNING)  # its lines of each request hold ids of users
        state, folder = bundle_state()
        self._loop, self._opened = asyncio.new_event_loop(), AsyncExitStack()
        asyncio.set_event_loop(self._loop)  # where the adapter looks for it
        self._answer = _adapter(build_app(state, None, configured_traces(at_once=True)))
        self._loop.run_until_complete(self._opened.enter_async_context(opened_bundle(state, folder)))

    def __call__(self, event: Event, context: Any) -> Event:
        """Return the answer to an event with a request. Raises TailorbirdError for other events."""
        if event.get("version") != _FORMAT or "rawPath" not in event:
            raise TailorbirdError(
                f"The event is no request in the payload format {_FORMAT}. Choose that format in the integration of "
                "API Gateway, and send no other events."
            )
        answer: Event = self._answer(event, context)
        return answer

    def close(self) -> None:
        """Close the application. Lambda ends the process instead."""
        self._loop.run_until_complete(self._opened.aclose())
        self._loop.close()


def _adapter(app: Any) -> Any:
    """Return the translator of events for an application. Raises TailorbirdError if it is not installed."""
    try:
        from mangum import Mangum
        from mangum.handlers import HTTPGateway
    except ImportError:
        raise TailorbirdError("Mangum is not installed. Install `tailorbird[serverless]`.") from None

    class HttpEvent(HTTPGateway):
        """An event of the payload format 2.0."""

        @property
        def scope(self) -> Any:
            """Return the request. The gate encodes a decoded path again, by its routes."""
            context = self.event["requestContext"]
            path, is_encoded = _path(self.event), _ENCODED in context.get("domainName", "")
            return {**super().scope, "path": path, "raw_path": path.encode() if is_encoded else None}

        def __call__(self, response: Any) -> Event:
            """Return the answer. Lambda computes its length, and sends no body after HEAD."""
            response["headers"] = [pair for pair in response["headers"] if pair[0] != b"content-length"]
            if self.event["requestContext"]["http"]["method"] == "HEAD":
                response["body"] = b""
            answer: Event = super().__call__(response)
            return answer

    return Mangum(
        app,
        lifespan="off",
        custom_handlers=[HttpEvent],
        text_mime_types=["text/", "application/json", "application/problem+json"],
    )


def _path(event: Event) -> str:
    """Return the path behind the name of the stage."""
    path, stage = str(event["rawPath"]), event["requestContext"].get("stage", _DEFAULT_STAGE)
    prefix = f"/{stage}"
    return path.removeprefix(prefix) if stage != _DEFAULT_STAGE and path.startswith(f"{prefix}/") else path


def __getattr__(name: str) -> Any:
    """Open the handler when Lambda looks it up; a mere import needs no bundle."""
    if name != _HANDLER:
        raise AttributeError(name)
    prepare()
    function = globals()[_HANDLER] = LambdaFunction()
    from serving.api.startup.warming import settle

    settle()
    return function
