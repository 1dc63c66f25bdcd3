"""The letters of a language decide in which one-byte encoding a text is."""
# ruff: noqa: RUF001 -- these letters are meant

import pytest

from models.ingest.text_files.likely_encodings import guessed, same

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
