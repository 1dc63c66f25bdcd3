"""A drafted mapping for files in unknown languages is guessed from cells and joins of the files."""

import random
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest

from models.errors import TailorbirdError
from tasks.ingest.check.check_mapping import check_mapping
from tasks.ingest.check.draft_mapping import draft_mapping

FINNISH: Final = (
    ["Tilausnro", "Ajankohta", "Ostaja", "Tuotekoodi", "Kpl", "Hinta"],
    ["Viivakoodi", "Tuotekoodi", "Nimike", "Ryhmä", "Hinta", "Lisätty"],
    ["Sähköposti", "Ostajanro", "Nimi", "Paikka", "Alkaen"],
)
GREEK: Final = (
    ["Αριθμός", "Ημερομηνία", "Πελάτης", "Κωδικός", "Τεμάχια", "Τιμή"],
    ["Barcode", "Κωδικός", "Περιγραφή", "Ομάδα", "Τιμή", "Προσθήκη"],
    ["Διεύθυνση", "Κωδικός πελάτη", "Όνομα", "Πόλη", "Από"],
)
FRENCH: Final = (
    ["Numéro de commande", "Date", "Client", "Référence", "Quantité", "Prix TTC"],
    ["EAN", "Référence", "Désignation", "Catégorie", "Prix", "Date"],
    ["E-mail", "N° client", "Nom", "Ville", "Date"],
)
POLISH: Final = (
    ["Numer zamówienia", "Data zamówienia", "Klient", "Symbol", "Ilość", "Cena brutto"],
    ["EAN", "Symbol", "Nazwa towaru", "Kategoria", "Cena", "Data dodania"],
    ["E-mail", "Nr klienta", "Imię i nazwisko", "Miasto", "Klient od"],
)
LETTERS: Final = (["a", "b", "c", "d", "e", "f"], ["g", "h", "i", "j", "k", "l"], ["m", "n", "o", "p", "q"])
Headers = tuple[list[str], list[str], list[str]]


def write(path: Path, header: list[str], rows: list[list[Any]]) -> Path:
    path.write_text("\n".join("\t".join(map(str, row)) for row in [header, *rows]) + "\n", encoding="utf-8")
    return path


def order_rows(lines: int, numeric: bool = False, other_form: int = 6) -> list[list[Any]]:
    """Order lines: every sixth time is written in another form, as exports of two programs are."""
    chance, rows = random.Random(lines), []  # noqa: S311 -- made-up data
    for order in range(160):
        user, day, month = chance.randrange(50), chance.randrange(1, 29), chance.randrange(1, 7)
        iso = order % other_form == 0
        time = f"2025-0{month}-{day:02} 10:{order % 60:02}" if iso else f"{day:02}.0{month}.2025 10:30"
        for item in chance.sample(range(60), chance.randrange(1, 2 * lines)):
            price = f"{item * 3 + 4},{chance.choice(['99', '50'])}"
            ids = [user + 1, item + 1] if numeric else [f"K{user:04}", f"{item:05}"]
            rows.append([f"T{order}", time, *ids, chance.choice([1, 1, 2, 3]), price])
    return rows


def shop(folder: Path, headers: Headers, lines: int = 2, numeric: bool = False) -> list[Path]:
    """Write orders, items with an EAN that is unique, and users with an address that is unique."""
    orders, goods, people = headers
    codes = [(n + 1, n + 1) if numeric else (f"{n:05}", f"K{n:04}") for n in range(100)]
    items = [
        [5_900_000_000_000 + n * 7919, item, f"Hyvä tuote {n}", f"R{n % 6}", f"{n + 4},99", "1.3.2024"]
        for n, (item, _) in enumerate(codes[:60])
    ]
    users = [
        [f"a{n}@posti.example", user, f"Aino {n % 40}", ("Oulu", "Turku")[n % 2], "2.5.2024"]
        for n, (_, user) in enumerate(codes)
    ]
    return [
        write(folder / "1.tsv", orders, order_rows(lines, numeric)),
        write(folder / "2.tab", goods, items),
        write(folder / "3.txt", people, users),
    ]


def drafted(files: list[Path]) -> str:
    return draft_mapping([str(file) for file in files], "shop", "given", "test").text


@pytest.mark.parametrize("headers", [FINNISH, GREEK, FRENCH, POLISH, LETTERS], ids=lambda one: one[0][2])
@pytest.mark.parametrize(("lines", "numeric"), [(1, False), (2, True)])
def test_orders_items_and_users_are_found_by_what_they_join(
    headers: Headers, lines: int, numeric: bool, tmp_path: Path
) -> None:
    text = drafted(shop(tmp_path, headers, lines, numeric))
    stated, (order, time, user, item, pieces, price) = tomllib.loads(text), headers[0]
    events = stated["events"]

    assert (events["file"], events["occurred_at"]) == ("1.tsv", time)
    assert (events["user_id"], stated["users"]["user_id"]) == (user, headers[2][1])
    assert (events["item_id"], stated["items"]["item_id"]) == (item, headers[1][1])
    assert (events["quantity"], price in str(events["value"])) == (pieces, True)
    assert (stated["items"]["title"], stated["items"]["price"]) == (headers[1][2], headers[1][4])
    assert events["event_id"] in ([order, item], order)


def test_the_mapping_by_cells_passes_its_check(tmp_path: Path) -> None:
    files = shop(tmp_path, GREEK)
    rows = order_rows(2, other_form=1_000)[2:]  # the first order has another form of time
    (tmp_path / "shop.toml").write_text(drafted([write(files[0], GREEK[0], rows), *files[1:]]))

    result = check_mapping(str(tmp_path / "shop.toml"))

    counts = {one["part"]: one["counts"] for one in result["tables"]}
    assert (counts["items"]["routed"], counts["users"]["routed"]) == (60, 100)
    assert counts["events"]["accepted"] == counts["events"]["read"]


@pytest.mark.parametrize("headers", [FINNISH, GREEK, LETTERS], ids=lambda one: one[0][2])
@pytest.mark.parametrize("stored", [1, 2])
def test_one_other_file_is_enough_and_the_other_id_is_called_uncertain(
    headers: Headers, stored: int, tmp_path: Path
) -> None:
    files = shop(tmp_path, headers)
    text = drafted([files[0], files[stored]])
    events = tomllib.loads(text)["events"]
    assert (events["user_id"], events["item_id"]) == (headers[0][2], headers[0][3])
    assert "uncertain: guessed from its cells" in text
    assert ("users" in tomllib.loads(text)) == (stored == 2)


@pytest.mark.parametrize("headers", [FINNISH, FRENCH, POLISH, LETTERS], ids=lambda one: one[0][2])
def test_orders_alone_become_a_commented_part_of_events_and_never_users(headers: Headers, tmp_path: Path) -> None:
    result = draft_mapping([str(shop(tmp_path, headers)[0])], "shop")
    assert result.parts == ()
    assert "# If 1.tsv has the events, complete this part" in result.text
    assert f'# occurred_at = "{headers[0][1]}"' in result.text
    assert tomllib.loads(result.text).keys() == {"name", "location", "consent"}


@pytest.mark.parametrize("headers", [GREEK, POLISH, LETTERS], ids=lambda one: one[0][2])
@pytest.mark.parametrize("dated", [False, True])
def test_orders_apart_from_their_lines_are_recognised_in_any_language(
    headers: Headers, dated: bool, tmp_path: Path
) -> None:
    files, rows, names = shop(tmp_path, headers), order_rows(2), headers[0]
    heads = list({row[0]: row[:3] for row in rows}.values())
    write(files[0], names[:3], heads)
    lines = write(
        tmp_path / "4.txt",
        [names[0], *names[1 + (not dated) : 2], *names[3:]],
        [[row[0], *([row[1]] if dated else []), *row[3:]] for row in rows],
    )
    result = draft_mapping([str(file) for file in (files[0], lines, files[1])], "shop")
    assert "1.tsv has orders without their products. Join it with the table of order lines" in result.text
    assert "4.txt has order lines without a user or a time. Join it with the table of orders" in result.text
    assert not {"users", "events"} & {*result.parts}


def test_both_halves_of_orders_alone_are_refused_with_what_to_do(tmp_path: Path) -> None:
    rows = order_rows(2)
    heads = write(tmp_path / "1.csv", GREEK[0][:3], list({row[0]: row[:3] for row in rows}.values()))
    lines = write(tmp_path / "2.csv", [GREEK[0][0], *GREEK[0][3:]], [[row[0], *row[3:]] for row in rows])
    with pytest.raises(TailorbirdError, match="Join it with the table of order lines into one file first"):
        draft_mapping([str(heads), str(lines)], "shop")


def test_users_without_orders_are_known_by_their_number_rather_than_their_address(tmp_path: Path) -> None:
    _, _, people = shop(tmp_path, (FINNISH[0], FINNISH[1], ["E-mail", *FINNISH[2][1:]]))
    assert tomllib.loads(drafted([people]))["users"]["user_id"] == "Ostajanro"


def test_orders_beside_a_log_of_views_are_called_another_table_of_events(tmp_path: Path) -> None:
    files = shop(tmp_path, FINNISH)
    views = [[f"K{n % 50:04}", f"{n % 60:05}", f"2025-03-{1 + n % 28:02} 11:30", "view"] for n in range(900)]
    log = write(tmp_path / "log.tsv", ["user_id", "item_id", "timestamp", "event_type"], views)
    unused = draft_mapping([str(file) for file in [*files, log]], "shop", "given", "test").unused
    assert unused == ("1.tsv is another table of events. Write a mapping of its own for it.",)


def test_branches_are_neither_users_nor_items(tmp_path: Path) -> None:
    rows = [[*row, f"M{place % 9}"] for place, row in enumerate(order_rows(2))]
    orders = write(tmp_path / "1.csv", [*LETTERS[0], "z"], rows)
    branches = write(tmp_path / "2.csv", ["x", "y"], [[f"M{n}", f"Myymälä {n}"] for n in range(9)])
    assert draft_mapping([str(orders), str(branches)], "shop").parts == ()

    items = shop(tmp_path, LETTERS)[1]
    stated = tomllib.loads(drafted([orders, branches, items]))
    assert (stated["events"]["user_id"], stated["items"]["file"]) == ("c", "2.tab")
    assert "users" not in stated
