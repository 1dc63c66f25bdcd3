import pytest

from models.ingest.text_files.encodings import LATIN, UTF_8, WINDOWS, detected

TEXT = "id,name\n1,Müller\n2,Straße\n"


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (TEXT.encode(), UTF_8),
        (b"", UTF_8),
        (b"id\n1\n", UTF_8),
        (TEXT.encode("cp1252"), WINDOWS),
        (TEXT.encode("latin-1") + b"\x81", LATIN),
        (TEXT.encode("utf-16"), "utf-16"),
        (TEXT.encode("utf-16-le"), "utf-16-le"),
        (TEXT.encode("utf-16-be"), "utf-16-be"),
        (TEXT.encode("utf-32"), "utf-32"),
        (TEXT.encode() * 3 + b"\xff", UTF_8),
    ],
)
def test_an_encoding_is_known_by_its_bytes(content: bytes, encoding: str) -> None:
    assert detected([content]) == encoding


def test_a_character_may_be_cut_between_two_blocks() -> None:
    content = TEXT.encode()
    assert all(detected([content[:cut], content[cut:]]) == UTF_8 for cut in range(1, len(content)))
