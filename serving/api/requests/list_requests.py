"""Builds requests for lists from parameters: placement, pseudonyms, and defaults of the placement."""

from typing import Final

from serving.answers.request import ListRequest, Visitor
from serving.api.replies.problems import Fault, Problem, ProblemError, RefusedRequestError, unknown_placement
from serving.api.requests.list_query import ListQuery
from serving.api.requests.parameters import MOST_ITEMS
from serving.api.state import Kind, State, kind_of

_USED_BY: Final[dict[Kind, str]] = {
    "user": "/v1/users/{user}/recommendations",
    "similarity": "/v1/items/{item}/similar",
    "co_purchase": "/v1/items/{item}/goes-with",
}


def visitor(state: State, user: str | None, session: str | None, consent: bool | None) -> Visitor:
    """Return the visitor by pseudonyms; a visitor who refuses consent in the request is nobody."""
    if consent is False:
        return Visitor()
    pseudonyms = state.pseudonyms
    return Visitor(
        None if user is None else pseudonyms.of(user), None if session is None else pseudonyms.of_device(session)
    )


def list_request(state: State, query: ListQuery, user: str | None, kind: Kind) -> ListRequest:
    """Return the request. Raises ProblemError for an unknown or unsuitable placement."""
    name = placement_name(state, query.placement, kind)
    return ListRequest(
        name,
        visitor(state, user, query.session, query.consent),
        query.k or min(state.placements[name].k, MOST_ITEMS),
        query.offset,
        query.context,
        query.filters,
    )


def placement_name(state: State, given: str | None, kind: Kind) -> str:
    """Return the placement's name, or the default of the kind. Raises ProblemError."""
    if given is None:
        default = state.default_placements.get(kind)
        if default is None:
            detail = f"The installation has no placement for {_USED_BY[kind]}. Add one to its file of placements."
            raise ProblemError(Problem(404, "unknown-placement", detail))
        return default
    placement = state.placements.get(given)
    if placement is None:
        raise unknown_placement(sorted(state.placements))
    if kind_of(placement) != kind:
        detail = f"Its lists are for another path: {_USED_BY[kind_of(placement)]}."
        raise RefusedRequestError([Fault("placement", detail)])
    return given
