"""Makes what callers state durable, and writes the receipt."""

import orjson

from serving.api.gate.call import Call, Reply
from serving.api.gate.request_ids import recommendation_id
from serving.api.replies.problems import Fault, Problem, ProblemError, RefusedRequestError
from serving.events.message import Message, RefusedMessageError
from serving.events.spool import SpoolFullError

_ACCEPTED = 202


def new_message_id() -> str:
    """Return an id for a message whose caller gave none: a repeated request has two effects then."""
    return recommendation_id()


async def accepted(call: Call, *messages: Message, many: bool = False) -> Reply:
    """Return the receipt when the messages are durable. Raises ProblemError."""
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
