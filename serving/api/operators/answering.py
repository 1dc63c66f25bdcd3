"""What the endpoints of operators share: the server's parts, and problems for their errors."""

from collections.abc import Iterator
from contextlib import contextmanager

from infra.outages import explain
from serving.api.gate.call import Call, Headers
from serving.api.requests import problems
from serving.api.requests.list_query import DEEPEST, ListQuery
from serving.api.requests.problems import Fault, Problem, ProblemError, RefusedRequestError
from serving.api.state import Operators
from serving.operations.reports import OutdatedVersionError, Paging, RefusedLayerError, UnknownVersionError
from serving.stores.shared_loads import PostgresDownError

_PER_PAGE = 20


def operators(call: Call) -> Operators:
    """Return the parts that operators use. Raises ProblemError on a server without a database."""
    found = call.state.parts.operators
    if found is None:
        raise ProblemError(problems.NOT_STORED)
    return found


@contextmanager
def answered(at: str = "/rules") -> Iterator[None]:
    """Turn errors into problems; `at` is the place of the layer in the body."""
    try:
        yield
    except RefusedLayerError as error:
        raise RefusedRequestError([Fault(f"{at}{fault.place}", fault.detail) for fault in error.faults]) from None
    except OutdatedVersionError as error:
        raise ProblemError(Problem(409, "outdated-version", str(error))) from None
    except UnknownVersionError as error:
        raise RefusedRequestError([Fault("/target", str(error))]) from None
    except PostgresDownError:
        raise ProblemError(problems.DATABASE_AWAY) from None
    except Exception as error:
        if explain(error) is None:  # no outage, so a defect
            raise
        raise ProblemError(problems.DATABASE_AWAY) from None


def part(query: ListQuery) -> Paging:
    """Return the wanted part of a report, and one entry more, which shows whether there is a next page."""
    return Paging(page_size(query) + 1, query.offset)


def next_page(path: str, query: ListQuery, found: int) -> tuple[str | None, Headers]:
    """Return the address of the next page with its header; None on the last page."""
    size = page_size(query)
    return page_from(path, query, query.offset + size) if found > size else (None, ())


def page_from(path: str, query: ListQuery, following: int) -> tuple[str | None, Headers]:
    """Return the address of the page that begins there, with its header; None if that is too deep."""
    if following > DEEPEST:
        return None, ()
    target = f"{path}?{query.rest}{'&' if query.rest else ''}offset={following}"
    return target, ((b"link", f'<{target}>; rel="next"'.encode()),)


def page_size(query: ListQuery) -> int:
    """Return the number of entries on a page."""
    return query.k or _PER_PAGE
