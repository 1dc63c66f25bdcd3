"""Tests promises of docs/ingestion.md that no other test covers, and lists the tests of all others.

- every row is in one place, and the counts add up (`tests/tasks/ingest/validation/test_row_triage.py`)
  test_over_any_chunks_every_row_is_counted_once_and_in_the_right_place
- an order of three products is three rows (`tests/models/ingest/segment/test_parse.py`)
  test_each_product_of_several_gets_an_id_of_its_own
- each id once (`tests/tasks/ingest/events/test_ingest_events.py`)
  test_every_row_is_accounted_for_and_every_accepted_event_is_in_the_lake_once
- late (`tests/tasks/ingest/events/test_event_batch.py`)
  test_events_that_come_after_newer_ones_of_their_source_are_marked_as_late
- duplicate: good rows (`tests/tasks/ingest/events/test_ingest_events.py`)
  test_rows_that_came_in_another_file_are_duplicates
- duplicate: bad rows (`tests/tasks/ingest/events/test_event_batch.py`)
  test_the_same_bad_rows_in_another_file_are_duplicates
- suppressed (`tests/tasks/ingest/events/test_ingest_events.py`)
  test_of_suppressed_users_nothing_is_stored
- routed: outside `--from` and `--to` (`tests/tasks/ingest/events/test_event_batch.py`)
  test_only_events_of_the_window_are_taken_and_the_others_are_counted_as_routed
- the same file twice (`tests/tasks/ingest/events/test_ingest_events.py`)
  test_the_same_file_again_changes_nothing
- killed at any moment (`tests/tasks/ingest/events/test_ingest_events.py`)
  test_over_many_chunks_a_run_that_stopped_anywhere_is_finished_by_the_next
- a file that lacks a column (`tests/tasks/ingest/events/test_ingest_events.py`)
  test_a_broken_contract_stores_nothing_but_that_it_was_refused_and_why
- a file that cannot be read to its end (`tests/tasks/ingest/test_golden_rows.py`)
  test_a_csv_file_that_breaks_off_in_the_middle_leaves_nothing_behind
- a batch that fails its suite (`tests/tasks/ingest/events/test_ingest_events.py`)
  test_a_refused_batch_leaves_no_row_and_its_fixed_file_is_ingested
- the other files come in (`tests/flows/test_ingest.py`)
  test_a_file_that_is_refused_does_not_stop_the_others_and_is_named
- no message quotes a value (`tests/tasks/orchestration/test_canaries.py`)
  test_no_value_of_a_broken_csv_file_gets_into_a_message_or_a_store
- nor a column's name (`tests/expectations/test_batches.py`)
  test_the_columns_of_a_file_without_names_are_values_and_are_not_repeated
- any order of files (`tests/tasks/ingest/rows/test_order_of_files.py`)
  test_files_in_any_order_end_with_the_same
- consent and refusals in any order (`tests/tasks/ingest/rows/test_order_of_files.py`)
  test_updates_have_the_same_result_in_any_order
- a refusal takes traits and devices back (`tests/tasks/ingest/rows/test_order_of_files.py`)
  test_a_refusal_takes_traits_and_devices_back
- a table replaces what it reads (`tests/tasks/ingest/rows/test_order_of_files.py`)
  test_a_catalogue_replaces_what_it_mentions_whenever_older_calls_come_in
- calls without a consent (`tests/tasks/ingest/rows/test_order_of_files.py`)
  test_users_without_an_answer_are_accepted_by_the_policy
- the first of several events with one id (`tests/tasks/ingest/validation/test_row_triage.py`)
  test_of_one_id_the_first_event_stays_its_repeats_are_duplicates_and_other_contents_conflict
- folders, patterns, hidden names (`tests/tasks/sources/test_locations.py`)
  test_a_folder_is_looked_through_to_the_bottom_without_markers_and_leftovers
- addresses (`tests/tasks/sources/test_object_store.py`)
  test_an_export_in_a_bucket_comes_in_as_from_a_folder
- traits before the first event (`tests/tasks/ingest/rows/test_order_of_files.py`)
  test_a_user_who_states_traits_before_the_first_event_is_known
- ids through many steps, circles (`tests/tasks/lake/test_reference_data.py`)
  test_each_device_is_whose_it_is_in_the_end
- consent of the categories that matter (`tests/models/ingest/segment/test_parse.py`)
  test_consent_depends_on_the_configured_categories
- only the refusal of users who only refused (`tests/tasks/ingest/events/test_segment_updates.py`)
  test_only_the_refusal_of_a_user_who_never_agreed_is_kept
- calls that carry no consent (`tests/tasks/ingest/events/test_ingest_segment.py`)
  test_without_consent_no_event_is_stored_and_the_last_answer_counts
- robots, internal traffic, placeholders (`tests/tasks/ingest/events/test_event_batch.py`)
  test_robots_the_house_and_nobody_wait_in_quarantine_and_are_no_users
- limits (`tests/tasks/ingest/events/test_event_batch.py`)
  test_limits_are_the_teams_own
- cleaning is counted (`tests/tasks/ingest/events/test_event_batch.py`)
  test_corrections_and_the_origin_of_a_batch_are_recorded
- no traits of users who refused (`tests/tasks/ingest/rows/test_order_of_files.py`)
  test_a_table_of_users_stores_no_traits_of_one_who_refused
- the files of each part (`tests/tasks/sources/test_file_matching.py`)
  test_files_and_patterns_go_to_the_part_that_their_name_fits
- ids stay text (`tests/tasks/ingest/test_golden_rows.py`)
  test_an_export_for_amazon_personalize_comes_in
- events without an id (`tests/models/ingest/tabular/test_transform.py`)
  test_an_event_without_an_id_gets_one_from_its_content
- `event_id_prefix` (`tests/models/ingest/tabular/test_transform.py`)
  test_a_prefix_separates_tables_with_equal_numbers
- without a catalogue (`tests/tasks/ingest/events/test_event_batch.py`)
  test_without_a_catalogue_every_item_is_taken_and_known_from_then_on
- one table for all (`tests/tasks/ingest/test_one_table.py`)
  test_events_items_and_users_are_read_from_one_table_of_texts
- routed: rows that `where` leaves out (`tests/tasks/ingest/test_one_table.py`)
  test_a_table_of_which_a_part_reads_no_row_is_counted_and_adds_up
- numbers stored as text (`tests/models/ingest/tabular/test_transform.py`)
  test_numbers_that_are_stored_as_text_are_read_as_in_csv
- expressions of the page (`tests/docs/test_mappings_on_the_page.py`)
  test_every_expression_of_the_page_gives_what_stands_beside_it
- values that cannot be computed are null (`tests/models/ingest/tabular/test_mapping_keys.py`)
  test_a_text_that_is_no_number_is_null
- no files, settings, other rows (`tests/models/ingest/tabular/test_mapping_keys.py`)
  test_an_invalid_expression_is_refused_with_what_to_do
- `choose` (`tests/models/ingest/tabular/test_duplicate_rows.py`)
  test_each_column_is_chosen_by_the_mapping
- `not_merchandise` (`tests/models/ingest/tabular/test_transform.py`)
  test_items_that_are_no_merchandise_are_marked_by_id_pattern_price_attribute_or_category
- suspects (`tests/tasks/ingest/test_one_table.py`)
  test_an_item_that_looks_like_no_goods_is_pointed_out_until_the_mapping_marks_it
- a raised limit, then a replay (`tests/tasks/ingest/test_one_table.py`)
  test_a_replay_takes_rows_in_that_a_raised_limit_lets_pass
- payloads are for owner and operator (`tests/serving/queries/test_database_roles.py`)
  test_ledgers_and_drift_are_shown_to_serving_and_payloads_to_the_operator
- pseudonyms, no words (`tests/tasks/ingest/events/test_ingest_events.py`)
  test_no_raw_id_reaches_the_lake_the_quarantine_or_the_ledger
- a replay reads by the mapping of now (`tests/tasks/ingest/events/test_event_batch.py`)
  test_a_replay_reads_quarantined_rows_by_the_fixed_mapping
- a replay adds up (`tests/tasks/ingest/quarantine/test_replay_rows.py`)
  test_rows_that_keep_the_rules_now_move_and_the_ledger_adds_up
- the page of a batch, the newest 20 (`tests/tasks/quality/test_suites.py`)
  test_only_the_newest_pages_are_kept
- schedules (`tests/flows/test_schedules.py`)
  test_a_schedule_states_its_next_run_and_the_same_name_again_replaces_it
- missed slots (`tests/flows/test_schedules.py`)
  test_of_the_slots_that_nobody_worked_on_one_is_run
- PostgreSQL goes away (`tests/faults/test_interrupted.py`)
  test_a_run_that_loses_its_database_stops_reports_it_and_goes_on_when_repeated
- a killed run is settled by any ingest (`tests/tasks/ingest/events/test_event_batch.py`)
  test_a_batch_that_another_run_left_half_done_keeps_nothing_out
- compaction changes no row (`tests/tasks/lake/test_compact_lake.py`)
  test_a_data_set_of_a_compacted_lake_has_the_same_content
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, select

from expectations.batches import EVENT_RULES, bounds
from infra.database.schema.schema import LEDGER, ingest_batches, items, users
from infra.installation import Installation
from infra.keys.identity import pseudonym
from models.ingest.check.advice import LINE_UNREADABLE
from models.ingest.segment.segment_mapping import SegmentMapping
from tasks.datasets.event_workspace import workspace
from tasks.ingest.events.ingest_events import ingest_events
from tasks.ingest.quarantine.replay_rows import replay_quarantine
from tasks.ingest.reference.ingest_reference import ingest_items, ingest_users
from tasks.ingest.validation.row_triage import CONFLICT, UNREADABLE
from tasks.lake.reference_data import read_reference_data
from tasks.lake.user_item_history import hidden
from tests.tasks.ingest.rows.test_order_of_files import forget_all

_HEAD = 'consent = "given"\nconsent_note = "by contract"\n'
_CATALOGUE = '[items]\nfile = "*.csv"\nitem_id = "item"\ntitle = "title"\nfill = { category = "Goods" }\n'
_USERS = '[users]\nfile = "*.csv"\nuser_id = "user"\nattributes = ["plan"]\n'


class Team:
    """Exports of a team, source by source."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def mapping(self, source: str, text: str) -> str:
        path = self.folder / f"{source}.toml"
        path.write_text(_HEAD + text)
        return str(path)

    def file(self, name: str, header: str, lines: Sequence[str]) -> str:
        path = self.folder / f"{name}.csv"
        path.write_text("\n".join([header, *lines]) + "\n")
        return str(path)

    def items(self, source: str, titles: Mapping[str, str], name: str = "", extra: str = "") -> dict[str, Any]:
        lines = [f"{item},{title}" for item, title in titles.items()]
        mapping, file = self.mapping(source, _CATALOGUE + extra), self.file(name or source, "item,title", lines)
        return added_up(ingest_items.fn(mapping, file))

    def users(self, source: str, plans: Mapping[str, str]) -> dict[str, Any]:
        lines = [f"{user},{plan}" for user, plan in plans.items()]
        return added_up(ingest_users.fn(self.mapping(source, _USERS), self.file(source, "user,plan", lines)))


def added_up(line: dict[str, Any]) -> dict[str, Any]:
    assert line["read"] == sum(line[name] for name in LEDGER if name != "read")
    return line


@pytest.fixture
def team(installation: Installation, tmp_path: Path) -> Team:  # noqa: ARG001 - it has to be there
    folder = tmp_path / "export"
    folder.mkdir()
    return Team(folder)


def titles(installation: Installation) -> dict[str, str]:
    with installation.engine.connect() as connection:
        return dict(connection.execute(select(items.c.item_id, items.c.title)).tuples().all())


def plans(installation: Installation, *names: str) -> dict[str, str]:
    with installation.engine.connect() as connection:
        attributes = dict(connection.execute(select(users.c.user_key, users.c.attributes)).tuples().all())
    return {name: attributes[pseudonym(name, installation.key)].get("plan") for name in names}


def batches(installation: Installation) -> int:
    with installation.engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(ingest_batches)).scalar_one()


def test_a_table_is_taken_again_after_another_source_changed_what_it_holds(
    installation: Installation, team: Team
) -> None:
    shop = {"cup": "Cup", "pan": "Pan"}
    team.items("shop", shop)
    team.items("supplier", {"cup": "CUP 0.2L"})
    assert titles(installation) == {"cup": "CUP 0.2L", "pan": "Pan"}
    assert team.items("shop", shop)["status"] == "committed"
    assert titles(installation) == shop
    assert team.items("supplier", {"cup": "CUP 0.2L"})["status"] == "committed"
    assert titles(installation)["cup"] == "CUP 0.2L"

    team.users("shop", {"ann": "gold"})
    team.users("crm", {"ann": "red"})
    team.users("shop", {"ann": "gold"})
    assert plans(installation, "ann") == {"ann": "gold"}


def test_a_table_is_taken_again_after_another_file_of_its_own_source(installation: Installation, team: Team) -> None:
    team.items("shop", {"cup": "Cup"}, "monday")
    team.items("shop", {"cup": "Mug"}, "tuesday")
    team.items("shop", {"cup": "Cup"}, "monday")
    assert titles(installation) == {"cup": "Cup"}


def test_a_table_without_news_makes_no_batch(installation: Installation, team: Team) -> None:
    first = team.items("shop", {"cup": "Cup"})
    team.items("supplier", {"pan": "Pan"})
    team.users("crm", {"ann": "gold"})
    for _ in range(2):
        again = team.items("shop", {"cup": "Cup"}, "renamed")
        assert again == first | {"status": "unchanged"}
        assert team.users("crm", {"ann": "gold"})["status"] == "unchanged"
    assert batches(installation) == 3


def test_a_mark_as_no_merchandise_stays_when_another_source_has_none(installation: Installation, team: Team) -> None:
    marked = 'category = ["kind"]\nnot_merchandise = ["FUEL"]\n'
    mapping = team.mapping("shop", _CATALOGUE.replace('fill = { category = "Goods" }\n', marked))

    def ingest(name: str, kind: str) -> None:
        ingest_items.fn(mapping, team.file(name, "item,title,kind", [f"oil,Oil,{kind}"]))

    ingest("shop", "FUEL")
    team.items("supplier", {"oil": "Oil 1 l", "cup": "Cup"})
    assert (titles(installation)["oil"], merchandise(installation)) == ("Oil 1 l", {"cup"})
    ingest("corrected", "KITCHEN")
    assert merchandise(installation) == {"cup", "oil"}


def merchandise(installation: Installation) -> set[str]:
    with installation.engine.connect() as connection:
        return set(connection.execute(select(items.c.item_id).where(items.c.available)).scalars())


_EVENTS = """unknown_items = "accept"
[events]
file = "e*.csv"
event_id = "id"
user_id = "user"
item_id = "item"
occurred_at = "at"
constants = { event_type = "purchase" }
"""


@pytest.mark.parametrize("policy", ["accept", "quarantine"])
def test_counts_without_services_are_the_same_whichever_file_comes_first(
    installation: Installation, team: Team, policy: str
) -> None:
    """Known postage is routed, unknown postage is stored or quarantined; it counts in neither case."""
    goods = ["cup", *(f"item{number}" for number in range(40))]
    sold = [*goods, "post"]
    lines = [f"{place},u{place % 3},{item},2024-06-01T10:00:{place:02}Z" for place, item in enumerate(sold)]
    mapping = team.mapping(
        "shop", _EVENTS.replace("accept", policy) + _CATALOGUE + "not_merchandise = \"item = 'post'\"\n"
    )
    events, catalogue = (
        team.file("events", "id,user,item,at", lines),
        team.file("items", "item,title", [f"{item},Title" for item in sold]),
    )
    counted = []
    for catalogue_first in (True, False):
        forget_all(installation)
        if catalogue_first:
            ingest_items.fn(mapping, catalogue)
        elif policy == "quarantine":
            ingest_items.fn(mapping, team.file("goods", "item,title", [f"{item},Title" for item in goods]))
        line = added_up(ingest_events.fn(mapping, events))
        ingest_items.fn(mapping, catalogue)
        line = replay_quarantine.fn(line["batch_id"])
        place = "routed" if catalogue_first or policy == "quarantine" else "accepted"
        assert (line["read"], line["quarantined"], line[place]) == (42, 0, 42 if place == "accepted" else 1)
        counted.append(counting(installation))
    assert counted[0] == counted[1]
    assert counted[0]["data set"] == counted[0]["bought"] == sorted(goods)


def counting(installation: Installation) -> dict[str, list[str]]:
    """Return the items with events in a data set, and the items that lists treat as purchased."""
    with workspace(installation, read_reference_data(installation), installation.lake.event_files()) as space:
        learned = [space.names["item_id"][code].as_py() for (code,) in space.connection.sql(_LEARNED).fetchall()]
    everything = np.array(sorted(titles(installation)), dtype=np.str_)
    people = np.array(sorted(pseudonym(f"u{number}", installation.key) for number in range(3)), dtype=np.str_)
    taken = hidden(installation, people, everything, {"purchase": "ever"})
    return {"data set": sorted(learned), "bought": everything[np.unique(taken.indices)].tolist()}


_LEARNED = "SELECT DISTINCT item_id FROM events"


def test_a_corrected_mark_lets_routed_events_in(installation: Installation, team: Team) -> None:
    events = team.file("events", "id,user,item,at", [f"{n},u1,item{n},2024-06-01T10:00:{n:02}Z" for n in range(30)])
    catalogue = team.file("items", "item,title", [f"item{n},Title" for n in range(30)])
    for mark, place in (("matches(item, '[0-9]{2}')", "routed"), ("item = 'item7'", "accepted")):
        mapping = team.mapping("shop", f'{_EVENTS}{_CATALOGUE}not_merchandise = "{mark}"\n')
        ingest_items.fn(mapping, catalogue)
        assert added_up(ingest_events.fn(mapping, events))[place] == 20
    assert len(counting(installation)["bought"]) == 29


_REQUIRED = {"quantity_missing", "currency_missing"}
"""Rules that a mapping adds by its key `required`."""
PAGE = (Path(__file__).parents[2] / "docs" / "ingestion.md").read_text()


def test_the_table_of_promises_names_tests_that_exist() -> None:
    names = re.findall(r"\(`tests/(\S+\.py)`\)\n  (test_\w+)", __doc__ or "")
    tests = Path(__file__).parents[1]
    assert len(names) > 40
    assert not [test for file, test in names if f"def {test}(" not in (tests / file).read_text()]


def test_the_page_names_every_rule_that_puts_rows_into_quarantine() -> None:
    lines = PAGE.partition("| rule |")[2].partition("\n\n")[0].splitlines()[2:]
    names = {rule for line in lines for rule in re.findall(r"`(\w+)`", line.split("|")[1])}
    by_key = {rule.id for rule in EVENT_RULES if rule.id.endswith("_unreadable")}
    assert names & by_key  # two of them stand for all
    assert names - by_key - _REQUIRED == {rule.id for rule in EVENT_RULES} - by_key | {
        CONFLICT,
        UNREADABLE,
        LINE_UNREADABLE,
    }


def test_the_pages_mapping_is_one_and_its_figures_can_be_limited() -> None:
    (whole,) = (text for text in re.findall(r"^```toml\n(.*?)^```$", PAGE, re.M | re.S) if 'kind = "segment"' in text)
    content = tomllib.loads(whole)
    mapping = SegmentMapping.parse(content, "page")
    assert (mapping.unknown_items, mapping.traits) == ("quarantine", ["plan", "country"])
    names = re.findall(r"`(\w+)`", PAGE.partition("What may be limited:")[2].partition("\n\n")[0])
    assert len(names) > 5
    limits = {"events": dict.fromkeys([*names, "null_item_id", "quantity_above_limit"], 1.0)}
    assert bounds("events", SegmentMapping.parse(content | {"limits": limits}, "page").limits)["late_share"] == (
        None,
        1.0,
    )
