"""Problems of calls: after 5xx and 429 Segment's libraries repeat a request, after other 4xx they drop it."""

from datetime import datetime
from typing import Final

from serving.api.replies.problems import Problem
from serving.collector.bodies import BodyTooLargeError

NOT_DURABLE: Final = Problem(
    503, "not-durable", "The calls could not be made durable. Send them again later.", headers={"retry-after": "2"}
)
ORIGIN_NOT_DECLARED: Final = Problem(
    403, "origin-not-declared", "The page's origin is not declared. Name it in the setting api_origins."
)
UNKNOWN_ENCODING: Final = Problem(415, "unsupported-encoding", "Send the body plain, or compressed by gzip.")


def quota_spent(now: datetime) -> Problem:
    """Return the problem of a new visitor of a page whose key has sent what it may per day."""
    seconds = str(86_400 - now.hour * 3600 - now.minute * 60 - now.second)
    detail = "The page's key has sent what it may per day; visitors of earlier days still may. Send it again tomorrow."
    return Problem(429, "quota-spent", detail, headers={"retry-after": seconds})


def unusable(error: Exception) -> Problem:
    """Return the problem of a body without usable calls."""
    if isinstance(error, BodyTooLargeError):
        return Problem(413, "body-too-large", str(error))
    return Problem(400, "unreadable-body", str(error))
