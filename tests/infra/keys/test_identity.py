import hashlib
import hmac
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pyarrow as pa
import pytest

from infra.database.engine import engine
from infra.keys.credentials import PSEUDONYM, extended, fingerprint, keys, remaining
from infra.keys.identity import key_version, pseudonym, pseudonyms, rekeyed, remember, user_key_of

KEY = b"a key"
FIRST, SECOND, THIRD = "a key", "ab" * 32, "cd" * 32
CHAIN = extended(extended(FIRST, SECOND), THIRD)


def names(user_ids: list[str], keys: list[str]) -> pa.Table:
    return pa.table({"user_id": pa.array(user_ids, pa.string()), "user_key": pa.array(keys, pa.string())})


@pytest.mark.parametrize("key", [KEY, b"", b"\0", b"x" * 64, b"y" * 65])
def test_many_pseudonyms_at_once_are_the_same_as_one_by_one(key: bytes) -> None:
    ids = ["900", "Zoë 雪", "", "'; --", "a\nb", "x" * 1000, *map(str, range(30_000))]
    keys = pseudonyms(pa.array([*ids, None]), key).to_pylist()
    assert keys == [*(pseudonym(user_id, key) for user_id in ids), None]


def test_a_user_is_found_by_the_raw_id_and_remembered_once(database: str) -> None:
    with engine(database).begin() as connection:
        remember(connection, names([], []))
        remember(connection, names(["900"], ["k900"]))
        remember(connection, names(["900", "Zoë 雪"], ["k900", "k1"]))
        assert [user_key_of(connection, i) for i in ("900", "Zoë 雪", "902")] == ["k900", "k1", None]


def test_two_batches_with_the_same_new_users_do_not_wait_for_each_other_forever(database: str) -> None:
    users = [str(number) for number in range(2000)]
    start = Barrier(2)

    def introduce(order: list[str]) -> None:
        with engine(database).begin() as connection:
            start.wait()
            remember(connection, names(order, [pseudonym(user_id, KEY) for user_id in order]))

    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(introduce, users), pool.submit(introduce, users[::-1])]:
            done.result()
    with engine(database).connect() as connection:
        assert user_key_of(connection, "1999") == pseudonym("1999", KEY)


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
