"""While Postgres is down messages wait on disk. Afterwards each of them is in the inbox once."""

from dataclasses import replace
from pathlib import Path

import pytest

from serving.events.spool import Spool, SpoolFullError
from serving.events.writer import EventWriter
from tests.serving.events.inbox_database import InboxDatabase, click
from tests.serving.made_up_shop import until

pytestmark = pytest.mark.anyio


async def test_messages_wait_on_disk_and_return_in_order(inbox: InboxDatabase) -> None:
    async with inbox.writer() as writer:
        await writer.write(click(0))
        inbox.go_away()
        for number in range(1, 40):
            assert await writer.write(click(number)) == ["spooled"]
        assert writer.spool.state()["messages"] == 39
        inbox.come_back()
        await until(lambda: writer.available and writer.spool.is_empty())
        assert await writer.write(click(40)) == ["stored"]
        assert writer.counts.replayed == 39
    assert inbox.ids() == [f"m{number}" for number in range(41)]


async def test_a_full_spool_refuses_counts_and_keeps_what_it_has(inbox: InboxDatabase) -> None:
    async with inbox.writer(3000) as writer:
        inbox.go_away()
        spooled = 0
        while sum(one.stat().st_size for one in writer.spool.folder.glob("*.jsonl")) + 300 < 3_000:
            spooled += len(await writer.write(click(spooled)))
        with pytest.raises(SpoolFullError, match="again later"):
            await writer.write(click(98), click(99))
        assert spooled > 3
        assert writer.counts.messages["dropped"] == writer.spool.state()["dropped"] == 2
        inbox.come_back()
        await until(lambda: writer.available)
        assert len(inbox.ids()) == spooled


def test_a_spool_whose_folder_cannot_be_made_refuses_like_a_full_one(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SpoolFullError, match="cannot be written: Not a directory"):
        Spool(tmp_path / "file" / "spool", 3_000).append([click(1)])


def test_another_process_replays_what_a_killed_one_left(inbox: InboxDatabase) -> None:
    async def leave(writer: EventWriter) -> None:
        inbox.go_away()
        await writer.write(click(1), click(2))

    async def take(writer: EventWriter) -> None:
        await writer.write(click(3))
        inbox.come_back()
        await until(writer.spool.is_empty)
        assert writer.counts.replayed == 3

    inbox.run(leave)
    with (inbox.folder / "open.jsonl").open("ab") as file:
        file.write(b'0000 {"message_id": "cut sho')
    inbox.run(take)
    assert inbox.ids() == ["m1", "m2", "m3"]


def test_a_replay_that_was_cut_short_is_repeated_without_a_double(inbox: InboxDatabase) -> None:
    async def leave(writer: EventWriter) -> None:
        inbox.go_away()
        await writer.write(*(click(number) for number in range(5)))

    async def work(writer: EventWriter) -> None:
        await until(writer.spool.is_empty)

    inbox.run(leave)
    left = (inbox.folder / "open.jsonl").read_bytes()
    inbox.come_back()
    inbox.run(work)
    (inbox.folder / "segment-000000000001.jsonl").write_bytes(left)
    inbox.run(work)
    assert inbox.ids() == [f"m{number}" for number in range(5)]


async def test_messages_that_the_database_refuses_or_the_disk_damaged_are_kept_apart(inbox: InboxDatabase) -> None:
    async with inbox.writer() as writer:
        inbox.go_away()
        await writer.write(click(1), replace(click(2), kind="nonsense"), click(3))  # type: ignore[arg-type]
        with (inbox.folder / "open.jsonl").open("ab") as file:
            file.write(b"00000000 {}\n")
        inbox.come_back()
        await until(writer.spool.is_empty)
        assert writer.spool.state()["refused"] == 2
    assert inbox.ids() == ["m1", "m3"]


async def test_files_of_the_spool_are_private(inbox: InboxDatabase) -> None:
    async with inbox.writer() as writer:
        inbox.go_away()
        await writer.write(click(1, user_id="77"))
    assert {path.stat().st_mode & 0o077 for path in [inbox.folder, *inbox.folder.iterdir()]} == {0}
