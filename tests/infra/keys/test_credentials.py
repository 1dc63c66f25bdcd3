import stat
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from infra.configuration.settings import Settings, load
from infra.configuration.settings_file import SettingsRefusedError
from infra.keys.credentials import (
    SignatureRefusedError,
    SigningKeyError,
    public_key,
    secret,
    sign,
    stored_secret,
    verify,
)

SEED = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
PUBLIC = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
OF_EMPTY_MESSAGE = (
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24"
    "655141438e7a100b"
)
"""The first test vector of RFC 8032, section 7.1."""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_secret_is_made_once_and_differs_by_name_and_folder(tmp_path: Path) -> None:
    one, other = Settings(var=tmp_path / "one"), Settings(var=tmp_path / "other")
    assert secret(one, "key") == secret(one, "key")
    assert len({secret(one, "key"), secret(one, "other-key"), secret(other, "key")}) == 3
    assert len(bytes.fromhex(secret(one, "key"))) == 32


def test_only_the_owner_can_read_it_and_rights_that_were_loosened_are_taken_back(tmp_path: Path) -> None:
    value = stored_secret(tmp_path / "secrets", "key")
    assert (mode(tmp_path / "secrets"), mode(tmp_path / "secrets" / "key")) == (0o700, 0o600)
    (tmp_path / "secrets").chmod(0o755)
    (tmp_path / "secrets" / "key").chmod(0o644)
    assert stored_secret(tmp_path / "secrets", "key") == value
    assert (mode(tmp_path / "secrets"), mode(tmp_path / "secrets" / "key")) == (0o700, 0o600)


def test_the_environment_comes_first_so_that_machines_can_share_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAILORBIRD_SECRET_MLFLOW_PAGE", "shared")
    assert secret(Settings(var=tmp_path), "mlflow-page") == "shared"
    assert not (tmp_path / "secrets").exists()


def test_processes_that_ask_at_once_get_the_same_secret(tmp_path: Path) -> None:
    with ProcessPoolExecutor(4) as pool:
        values = set(pool.map(partial(stored_secret, tmp_path / "secrets"), ["key"] * 16))
    assert len(values) == 1
    assert [path.name for path in (tmp_path / "secrets").iterdir()] == ["key"]


@pytest.fixture(autouse=True)
def no_keys_from_outside(own_var: Path) -> Path:
    return own_var


def test_signatures_are_those_of_the_standard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAILORBIRD_SECRET_SIGNING_KEY", SEED)
    assert public_key(load()) == PUBLIC
    assert sign(load(), b"").hex() == OF_EMPTY_MESSAGE


def test_a_key_of_the_standard_is_believed_where_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SignatureRefusedError, match="no key is known here"):
        verify(load(), b"", bytes.fromhex(OF_EMPTY_MESSAGE))
    monkeypatch.setenv("TAILORBIRD_SIGNING_PUBLIC_KEY", PUBLIC.upper())
    verify(load(), b"", bytes.fromhex(OF_EMPTY_MESSAGE))


def test_content_that_was_signed_here_is_trusted_and_nothing_near_it() -> None:
    content = b"a manifest"
    signature = sign(load(), content)
    verify(load(), content, signature)
    flipped = [bytes([*signature[:at], signature[at] ^ 1, *signature[at + 1 :]]) for at in range(len(signature))]
    for wrong in (b"", signature[:-1], signature + b"\0", *flipped):
        with pytest.raises(SignatureRefusedError, match="none of the keys"):
            verify(load(), content, wrong)
    with pytest.raises(SignatureRefusedError, match="`tailorbird signing-key` prints"):
        verify(load(), content + b" ", signature)


def test_a_host_that_only_serves_needs_the_public_key_and_makes_no_private_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = Settings(var=tmp_path / "training")
    signature = sign(trained, b"x")
    serving = tmp_path / "serving"
    monkeypatch.setenv("TAILORBIRD_VAR", str(serving))
    with pytest.raises(SignatureRefusedError, match="TAILORBIRD_SIGNING_PUBLIC_KEY"):
        verify(load(), b"x", signature)
    monkeypatch.setenv("TAILORBIRD_SIGNING_PUBLIC_KEY", public_key(trained))
    verify(load(), b"x", signature)
    assert not serving.exists()


def test_several_keys_are_trusted_while_they_are_rotated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = Settings(var=tmp_path / "old"), Settings(var=tmp_path / "new")
    monkeypatch.setenv("TAILORBIRD_SIGNING_PUBLIC_KEY", f"{public_key(old)}, {public_key(new)}")
    for settings in (old, new, load()):
        verify(load(), b"x", sign(settings, b"x"))
    with pytest.raises(SignatureRefusedError):
        verify(load(), b"x", sign(Settings(var=tmp_path / "strange"), b"x"))


def test_an_invalid_key_is_named_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAILORBIRD_SECRET_SIGNING_KEY", "hidden")
    with pytest.raises(SigningKeyError, match="64 hex digits: correct or unset TAILORBIRD_SECRET_SIGNING_KEY") as error:
        sign(load(), b"x")
    assert "hidden" not in str(error.value)
    monkeypatch.setenv("TAILORBIRD_SIGNING_PUBLIC_KEY", f"{PUBLIC},short")
    with pytest.raises(SettingsRefusedError, match="TAILORBIRD_SIGNING_PUBLIC_KEY"):
        load()


def test_thirty_two_bytes_that_are_no_key_are_trusted_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for no_key in ("ff" * 32, "02" + "00" * 31):
        monkeypatch.setenv("TAILORBIRD_SIGNING_PUBLIC_KEY", no_key)
        with pytest.raises(SignatureRefusedError):
            verify(load(), b"x", bytes(64))
