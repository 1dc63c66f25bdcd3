"""The limit: the smallest Starlette application, which uvicorn serves with the options of the API."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route


async def hello(_: Request) -> PlainTextResponse:
    """Return one word."""
    return PlainTextResponse("hello")


app = Starlette(routes=[Route("/", hello)])
