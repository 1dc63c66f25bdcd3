"""Makes what callers state durable, and writes the receipt."""

import orjson

from models.columns import ITEM_ID
from models.ingest import placeholder_ids
from serving.api.gate.call import Call, Reply
from serving.api.requests.ids import recommendation_id
from serving.api.requests.problems import Fault, Problem, ProblemError, RefusedRequestError, unknown_items
from serving.events.message import Message, RefusedMessageError
from serving.events.spool import SpoolFullError

_ACCEPTED = 202
_WORDS = frozenset(placeholder_ids.ITEMS)
_NO_ITEM = "The item's id is a word for no item. Send the id that your catalogue has."


def new_message_id() -> str:
    """Return an id for a message whose caller gave none: a repeated request has two effects then."""
    return recommendation_id()


async def accepted(call: Call, *messages: Message, many: bool = False, adds: bool = False) -> Reply:
    """Return the receipt when the messages are durable. Raises ProblemError.

    Without `adds` they may be about known items alone: an act on another item would not count.
    """
    items: list[str] = [one.payload.get(ITEM_ID, "") for one in messages]
    if words := [Fault(f"message {place}", _NO_ITEM) for place, item in enumerate(items) if item in _WORDS]:
        raise RefusedRequestError(words)
    unknown = frozenset() if adds else await call.state.parts.answers.unknown_items(set(items) - {""})
    if unknown:
        raise ProblemError(unknown_items([place for place, item in enumerate(items) if item in unknown]))
    if call.bucket is not None:
        call.bucket.charge(len(messages) - 1)
    try:
        receipts = await call.state.parts.events.write(*messages)
    except RefusedMessageError as error:
        raise RefusedRequestError([Fault("body", str(error))]) from None
    except SpoolFullError:
        raise ProblemError(_NO_ROOM) from None
    if "conflict" in receipts:
        detail = "Another message has this message_id. Repeat a message without changes, or give it an id of its own."
        raise ProblemError(Problem(409, "message-id-used", detail))
    stated = [
        {"message_id": message.message_id, "status": receipt}
        for message, receipt in zip(messages, receipts, strict=True)
    ]
    return Reply(orjson.dumps({"messages": stated} if many else stated[0]), _ACCEPTED)


_NO_ROOM = Problem(
    503, "no-room", "The message could not be made durable. Send it again later.", headers={"retry-after": "5"}
)
