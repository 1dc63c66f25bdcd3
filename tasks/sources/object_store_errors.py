"""Translates errors of object stores into sentences with advice and without credentials."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pyarrow as pa

from models.errors import TailorbirdError


class StoreError(TailorbirdError):
    """An object store does not return a requested object."""


class StoreUnreachableError(StoreError):
    """An object store does not answer, so that a retry may succeed."""


_CREDENTIALS: Final = {
    "s3": "AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_APPLICATION__CREDENTIALS",
    "abfs": "`az login`, or AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET",
}
ENDPOINT: Final = "the network, and AWS_ENDPOINT_URL where the store is not Amazon's"
_GONE: Final = "There is no such object. Check the name"
# Messages of the clients of the three clouds, which have no codes in common.
_SIGNS: Final = (
    (r"NO_SUCH_BUCKET", f"There is no such bucket. Check its name, {ENDPOINT}"),
    (r"NO_SUCH_KEY|RESOURCE_NOT_FOUND|status 404|NOT_FOUND|NotFound|does not exist", _GONE),
    (
        r"ACCESS_DENIED|ACCESS_KEY|SIGNATURE|TOKEN|EXPIRED|UNRECOGNIZED_CLIENT|SKEWED|MISSING_AUTHENTICATION"
        r"|PERMISSION_DENIED|UNAUTHENTICATED|Authenticat|Authoriz|[Cc]redential|status 40[13]",
        "Access is denied. Check the credentials ({credentials}), and that they may list and read there",
    ),
    (r"status (301|307|400)|REDIRECT", "The store refused the request. Check the region (such as AWS_REGION)"),
)
_UNREACHABLE: Final = re.compile(
    r"NETWORK_CONNECTION|curlCode|[Cc]onnect|resolve host|TIMEOUT|[Tt]imed out|UNAVAILABLE|SLOW_DOWN|THROTTLING"
    r"|INTERNAL|DEADLINE|status 5\d\d|[Rr]etry"
)
_NAMES: Final = re.compile(r"'[^']*'")
_REQUEST: Final = re.compile(r"\?\S+")


@contextmanager
def translate_store_errors(address: str) -> Iterator[None]:
    """Raise errors of a store's client as StoreError with this address."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        # Without the cause, which may hold a signed request.
        raise _explained(address, error) from None


def credentials(address: str) -> str:
    """Return where the client of the address's store finds credentials."""
    return next(where for scheme, where in _CREDENTIALS.items() if address.startswith(scheme))


def _explained(address: str, error: Exception) -> StoreError:
    message = _NAMES.sub("", str(error))
    if isinstance(error, FileNotFoundError):
        return StoreError(f"{address}: {_GONE}.")
    for signs, sentence in _SIGNS:
        if re.search(signs, message):
            return StoreError(f"{address}: {sentence.format(credentials=credentials(address))}.")
    if _UNREACHABLE.search(message):
        return StoreUnreachableError(
            f"{address}: the store cannot be reached, or stopped answering. Check {ENDPOINT}, then run the command "
            "again; what was ingested stays."
        )
    return StoreError(f"{address} cannot be read: {_REQUEST.sub('', message)[:200]}")
