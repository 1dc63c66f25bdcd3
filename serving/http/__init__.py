"""Protocols of HTTP that bound what clients may send, and end connections without a loss."""

from typing import Final

API_PROTOCOL: Final = "serving.http.bounded_httptools:BoundedHttpToolsProtocol"
"""The protocol of the API, as the option `--http` of uvicorn takes it."""
IS_LAST: Final = "tailorbird.is_last"
"""The entry of an ASGI scope with a function that returns whether no later request of the connection was read."""
