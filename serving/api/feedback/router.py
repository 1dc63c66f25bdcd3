"""Endpoints of feedback."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from serving.api.feedback.protocol import FeedbackBatch, FeedbackBody, act_of
from serving.api.gate.call import call_of, response
from serving.api.gate.routes import SCOPE
from serving.api.replies.messages import accepted, new_message_id
from serving.api.replies.protocol import Accepted, AcceptedMany
from serving.api.requests.list_requests import visitor
from serving.api.state import State
from serving.events.message import Message
from serving.events.messages import NOT_INTERESTED, Sender, feedback_message

router = APIRouter(tags=["feedback"])
_WRITES = {SCOPE: "write"}


@router.post("/v1/feedback", response_model=Accepted, status_code=202, openapi_extra=_WRITES)
async def feedback(body: FeedbackBody, request: Request) -> Response:
    """State what a visitor did with an item. It is durable when the answer arrives, and part of the next data set.

    `not_interested` hides the item from the user at once.
    """
    call = call_of(request)
    reply = await accepted(call, _message(call.state, body))
    _hide(call.state, body)
    return response(reply)


@router.post("/v1/batch/feedback", response_model=AcceptedMany, status_code=202, openapi_extra=_WRITES)
async def feedback_of_many(batch: FeedbackBatch, request: Request) -> Response:
    """State several acts, which are stored together."""
    call = call_of(request)
    reply = await accepted(call, *(_message(call.state, one) for one in batch.messages), many=True)
    for one in batch.messages:
        _hide(call.state, one)
    return response(reply)


def _hide(state: State, body: FeedbackBody) -> None:
    """Hide an item in this process; the others are notified."""
    if body.kind == NOT_INTERESTED:
        state.parts.answers.hide(visitor(state, body.user, body.session, None), body.item_id)


def _message(state: State, body: FeedbackBody) -> Message:
    pseudonyms = state.pseudonyms
    acting = visitor(state, body.user, body.session, None)
    earlier_key = None if body.session is None else pseudonyms.of(body.session)
    keys = acting.user_key, acting.session_key, body.user, body.consent, earlier_key
    sender = Sender(pseudonyms.key_version, *keys)
    return feedback_message(act_of(body), sender, body.message_id or new_message_id())
