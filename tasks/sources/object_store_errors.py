"""What goes wrong with an object store, in a sentence that says what to do and never holds a credential."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pyarrow as pa

from models.errors import TailorbirdError


class StoreError(TailorbirdError):
    """An object store does not give what was asked for."""


class StoreUnreachableError(StoreError):
    """An object store does not answer, or not now: the same again may go well."""


_CREDENTIALS: Final = {
    "s3": "AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_APPLICATION__CREDENTIALS",
    "abfs": "`az login`, or AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET",
}
ENDPOINT: Final = "the network, and AWS_ENDPOINT_URL where the store is not Amazon's"
_GONE: Final = "There is no such object. Check the name"
# What the clients of the three clouds say; they have no codes in common.
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
def told(address: str) -> Iterator[None]:
    """Raises what a store's client raises as a StoreError about this address."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        # Without its cause, which may hold a signed request.
        raise _explained(address, error) from None


def credentials(address: str) -> str:
    """Where the client of the address's store finds out who asks."""
    return next(where for scheme, where in _CREDENTIALS.items() if address.startswith(scheme))


def _explained(address: str, error: Exception) -> StoreError:
    said = _NAMES.sub("", str(error))
    if isinstance(error, FileNotFoundError):
        return StoreError(f"{address}: {_GONE}.")
    for signs, sentence in _SIGNS:
        if re.search(signs, said):
            return StoreError(f"{address}: {sentence.format(credentials=credentials(address))}.")
    if _UNREACHABLE.search(said):
        return StoreUnreachableError(
            f"{address}: the store cannot be reached, or stopped answering. Check {ENDPOINT}, then run the command "
            "again; what was taken in stays."
        )
    return StoreError(f"{address} cannot be read: {_REQUEST.sub('', said)[:200]}")
