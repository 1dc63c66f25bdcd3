"""The encoding of a text is known by its bytes or its letters, and a title by how few values it has."""
# ruff: noqa: RUF001 -- these letters are meant

import pytest

from models.ingest.text_files import LATIN, UTF_8, WINDOWS, detected, guessed, lines_above_header, same

TEXT = "id,name\n1,Müller\n2,Straße\n"


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (TEXT.encode(), UTF_8),
        (b"", UTF_8),
        (TEXT.encode("cp1252"), WINDOWS),
        (TEXT.encode("latin-1") + b"\x81", LATIN),
        (TEXT.encode("utf-16"), "utf-16"),
        (TEXT.encode("utf-16-le"), "utf-16-le"),
        (TEXT.encode("utf-32"), "utf-32"),
        (TEXT.encode() * 3 + b"\xff", UTF_8),
    ],
)
def test_an_encoding_is_known_by_its_bytes(content: bytes, encoding: str) -> None:
    assert detected([content]) == encoding


def test_a_character_may_be_cut_between_two_blocks() -> None:
    content = TEXT.encode()
    assert all(detected([content[:cut], content[cut:]]) == UTF_8 for cut in range(1, len(content)))


ROWS = "sku;title;price;stock\n1;Tea;2,50;3\n2;Ice;1,50;4\n"


@pytest.mark.parametrize(
    ("above", "lines"),
    [
        ("", 0),
        ("Shop Ltd - products\n", 1),
        ("Shop Ltd - products;;\r\n\r\n", 2),
        ('"Shop\nLtd"\nof today\n', 3),
    ],
)
def test_lines_of_a_title_are_counted_as_an_editor_shows_them(above: str, lines: int) -> None:
    assert lines_above_header((above + ROWS).splitlines(keepends=True), ";") == lines


@pytest.mark.parametrize("text", ["a;b;c\n1;2;3;4\n5;6;7;8\n", "", "one\ntwo\n", 'a;b\n"1;2\n'])
def test_a_header_that_does_not_fit_its_lines_is_no_title(text: str) -> None:
    assert lines_above_header(text.splitlines(keepends=True), ";") == 0


POLISH = "Symbol;Zdjęcie\n1;Łańcuch Gęsia\n2;Odzież/Rękawiczki\n3;Oświetlenie\n4;Dziecięce ąŻ\n"
CZECH = "Kód;Název\n1;Řetěz žlutý\n2;Přilba dětská\n3;Světlo zadní\n"
FRENCH = "Référence;Désignation\n1;Chaîne de vélo\n2;Garde-boue arrière, très léger\n3;Forêt où naît l'été\n"
SWEDISH = "Artikel;Färg\n1;Tröja grön\n2;Åkdon blå\n3;Hårborste\n"
GERMAN = "Artikel;Größe\n1;Müsli\n2;Tüte\n3;Straßenschläuche\n4;5 m²\n5;3 €\n"
NUMBERED = "Nº pedido;Cliente;1ª compra\n1;C1;si\n"
SPANISH = "Código;Descripción\n1;Camión niño\n2;¿Cuánto?\n3;Página mañana\n"
DANISH = "Vare;Størrelse\n1;Grøn trøje\n2;Rød æske\n3;Blå kåbe\n"
HUNGARIAN = "Cikk;Megnevezés\n1;Őszi fűző\n2;Kerékpár tükör\n3;Hűtő\n"
RUSSIAN = "Артикул;Название\n1;Велосипед горный\n2;Цепь\n"
TURKISH = "Ürün;Açıklama\n1;Yağmurluk\n2;Şapka ışık\n3;Gömlek\n"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        *((text, encoding) for text in (POLISH, CZECH) for encoding in ("windows-1250", "iso-8859-2")),
        *((text, "windows-1252") for text in (FRENCH, SWEDISH, GERMAN, SPANISH, NUMBERED, DANISH)),
        (HUNGARIAN, "windows-1250"),
        (RUSSIAN, "windows-1251"),
        (TURKISH, "windows-1254"),
    ],
)
def test_a_text_is_guessed_in_the_encoding_that_it_was_written_in(text: str, encoding: str) -> None:
    result = guessed(text.encode(encoding))

    assert result is not None
    assert text.encode(encoding).decode(result.encoding) == text
    assert same(result.encoding, encoding)


def test_a_guess_names_a_word_that_other_encodings_read_otherwise() -> None:
    result = guessed(POLISH.encode("cp1250"))

    assert result is not None
    assert result.read("windows-1250") in POLISH
    assert result.read("windows-1252") not in POLISH
    assert {"windows-1252", "iso-8859-2"} <= set(result.others)


@pytest.mark.parametrize("text", ["5 m³;Box", "3 €;Tea", "20 °C", "Café"])
def test_signs_and_letters_that_fit_everywhere_are_western(text: str) -> None:
    result = guessed(text.encode("cp1252"))

    assert result is not None
    assert result.encoding == "windows-1252"


def test_plain_ascii_needs_no_guess() -> None:
    assert guessed(b"sku,title\n1,Tea\n") is None
