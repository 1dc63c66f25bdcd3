"""Answers many users or items in one request, in their order."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import orjson

from serving.answers.answer import Answer
from serving.answers.request import Visitor
from serving.api.gate.call import Call, Reply
from serving.api.replies.lists import body, shown

Answered = tuple[Answer, Visitor]


async def batched(call: Call, ids: Sequence[str], one: Callable[[str], Awaitable[Answered]]) -> Reply:
    """Return the lists of all ids. Each is an answer of its own, with a recommendation id of its own.

    For the rate of the key, each list counts as one request.
    """
    if call.bucket is not None:
        call.bucket.charge(len(ids) - 1)
    answers = await asyncio.gather(*(one(given) for given in ids))
    lists = (
        b'{"id":%b,%b' % (orjson.dumps(given), body(answer, shown(call, answer, seen_by, None))[1:])
        for given, (answer, seen_by) in zip(ids, answers, strict=True)
    )
    return Reply(b'{"lists":[%b]}' % b",".join(lists))
