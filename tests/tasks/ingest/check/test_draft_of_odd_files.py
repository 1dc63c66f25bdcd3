"""Files in other encodings, with titles or with other separators are read for a drafted mapping, or named."""

import tomllib
from pathlib import Path

import pytest

from models.errors import TailorbirdError
from tasks.ingest.check.draft_mapping import draft_mapping


def test_a_file_in_utf_16_with_tabs_is_read(tmp_path: Path) -> None:
    rows = [f"u{n % 5}\ti{n % 7}\t2024-03-{n % 28 + 1:02}\t3" for n in range(60)]
    path = tmp_path / "orders.csv"
    path.write_text("\n".join(["customer_id\tproduct_id\torder_date\tquantity", *rows]), encoding="utf-16")
    stated = tomllib.loads(draft_mapping([str(path)], "shop").text)
    assert (stated["events"]["separator"], stated["events"]["encoding"]) == ("\t", "utf-16")


def test_a_column_of_row_numbers_without_a_name_is_left_out(tmp_path: Path) -> None:
    rows = [f"{n},u{n % 5},i{n % 7},2024-03-{n % 28 + 1:02},3" for n in range(60)]
    (tmp_path / "orders.csv").write_text("\n".join([",customer_id,product_id,order_date,quantity", *rows]))
    stated = tomllib.loads(draft_mapping([str(tmp_path / "orders.csv")], "shop").text)
    assert stated["events"]["user_id"] == "customer_id"


@pytest.mark.parametrize("content", [b"", b"\x00\x01\x02", b"a,a\n1,2\n", b"one\n1\n", b"\xff\xfe"])
def test_a_file_that_is_no_table_is_named_in_a_sentence(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "odd.csv").write_bytes(content)
    with pytest.raises(TailorbirdError, match=r"odd\.csv"):
        draft_mapping([str(tmp_path / "odd.csv")], "shop")


def test_letters_of_central_europe_are_read_and_the_other_encodings_named(tmp_path: Path) -> None:
    rows = "".join(f"{n};Łańcuch gęsi śliwa {n};{n},50;2\n" for n in range(1, 60))
    (tmp_path / "products.csv").write_text(f"SKU;Title;Price;Zdjęcie\n{rows}", encoding="cp1250")
    text = draft_mapping([str(tmp_path / "products.csv")], "shop", "given", "test").text

    assert tomllib.loads(text)["items"]["encoding"] == "windows-1250"
    [line] = [line for line in text.splitlines() if "guessed: " in line]
    assert '"windows-1252" (' in line
    assert '"iso-8859-2" (' in line
    assert "Zdjęcie" in text


@pytest.mark.parametrize("title", ["Shop Ltd - products;;;;\r\n\r\n", "Shop Ltd\r\n\r\n"])
def test_a_title_above_the_header_is_skipped(tmp_path: Path, title: str) -> None:
    rows = "".join(f"{n};Lamp, red {n};{n},50;{n % 5}\r\n" for n in range(1, 60))
    (tmp_path / "products.csv").write_text(f"{title}SKU;Title;Price;Stock\r\n{rows}", newline="")
    stated = tomllib.loads(draft_mapping([str(tmp_path / "products.csv")], "shop", "given", "test").text)["items"]

    assert (stated["skip_lines"], stated["separator"], stated["item_id"]) == (2, ";", "SKU")


@pytest.mark.parametrize("separator", [";", "\t", "|"])
@pytest.mark.parametrize(
    "title", ["Lampade Rossi S.p.A., Via Roma 3, Torino", "Rossi, Torino\r\nListino, 2026", "A|B; C"]
)
def test_the_separator_is_that_of_the_rows_and_not_of_a_title(tmp_path: Path, separator: str, title: str) -> None:
    names = ["Codice articolo", "Nome", "Prezzo", "Marca", "Colore"]
    rows = [names, *([f"L{n}", f"Lampada {n}", f"{n},50", f"M{n % 4}", f"C{n % 3}"] for n in range(1, 60))]
    table = "\r\n".join(separator.join(row) for row in rows)
    (tmp_path / "listino.csv").write_text(f"{title}\r\n\r\n{table}\r\n", newline="")
    stated = tomllib.loads(draft_mapping([str(tmp_path / "listino.csv")], "shop", "given", "test").text)["items"]

    assert (stated["separator"], stated["skip_lines"]) == (separator, title.count("\n") + 2)
    assert (stated["title"], stated["price"]) == ("Nome", "Prezzo")
