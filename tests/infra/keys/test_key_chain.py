import hashlib
import hmac

import pyarrow as pa
import pytest

from infra.keys.credentials import PSEUDONYM, extended, fingerprint, keys, remaining
from infra.keys.identity import key_version, pseudonym, pseudonyms, rekeyed

FIRST, SECOND, THIRD = "a key", "ab" * 32, "cd" * 32
CHAIN = extended(extended(FIRST, SECOND), THIRD)


def hashed(name: str, key: str) -> str:
    return hmac.new(key.encode(), name.encode(), hashlib.sha256).hexdigest()


def test_a_pseudonym_is_hashed_with_every_key_in_turn() -> None:
    expected = hashed(hashed(hashed("Zoë", FIRST), SECOND), THIRD)
    assert pseudonym("Zoë", CHAIN.encode()) == expected
    assert pseudonyms(pa.array(["Zoë", None]), CHAIN.encode()).to_pylist() == [expected, None]
    stored = pa.array([pseudonym("Zoë", FIRST.encode())])
    assert rekeyed(stored, [SECOND, THIRD]).to_pylist() == [expected]
    assert [key_version(key.encode()) for key in (FIRST, CHAIN)] == [1, 3]


@pytest.mark.parametrize("secret", ["ab" * 32, "a, b", "a,b", "x," + "AB" * 32, "", ","])
def test_a_secret_that_no_rotation_made_is_one_key(secret: str) -> None:
    assert keys(secret) == [secret]
    assert pseudonym("ann", secret.encode()) == hashed("ann", secret)


def test_secrets_added_since_a_fingerprint_are_known() -> None:
    two = extended(FIRST, SECOND)
    earlier = [fingerprint(PSEUDONYM, secret) for secret in (FIRST, two, CHAIN)]
    assert [remaining(CHAIN, one) for one in (None, *earlier)] == [[SECOND, THIRD], [SECOND, THIRD], [THIRD], []]
    assert remaining(two, earlier[2]) is None
