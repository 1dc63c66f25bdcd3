"""Protocols of HTTP that bound what clients may send, and end connections without a loss."""

from typing import Final

API_PROTOCOL: Final = "serving.http.bounded_httptools:BoundedHttpToolsProtocol"
"""The protocol of the API, as the option `--http` of uvicorn takes it."""
