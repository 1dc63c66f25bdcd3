"""Events and profiles come whole from Mixpanel's API, whatever breaks on the way."""

import gzip
import json
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import pytest

from models.errors import TailorbirdError
from tasks.ingest.mixpanel.client import MixpanelClient, MixpanelError, RateLimit, download_day, download_profiles
from tests.mixpanel_server import PROJECT, SECRET, USERNAME, MixpanelServer, event

DAY = date(2026, 11, 1)


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def client(mixpanel: MixpanelServer, pauses: list[float]) -> MixpanelClient:
    mixpanel.events = [*(event(n) for n in range(200)), event(1, "2026-11-02")]
    return MixpanelClient("eu", f"{USERNAME}:{SECRET}", RateLimit(sleep=pauses.append, clock=lambda: sum(pauses)))


def lines(path: Path) -> list[str]:
    return gzip.decompress(path.read_bytes()).decode().splitlines()


@pytest.mark.parametrize("fault", ["429", "500", "503", "broken", "error line", "terminated"])
def test_a_fault_that_passes_costs_nothing_but_time(
    client: MixpanelClient, mixpanel: MixpanelServer, pauses: list[float], tmp_path: Path, fault: str
) -> None:
    mixpanel.faults = [fault, fault]
    got = download_day(client, PROJECT, DAY, tmp_path / "a.gz")
    assert [json.loads(line)["properties"]["$insert_id"] for line in lines(got.path)] == [
        f"2026-11-01-{n}" for n in range(200)
    ]
    assert len(mixpanel.requests) == 3
    assert pauses[:2] == ([0, 0] if fault == "429" else [5, 20])
    assert mixpanel.requests[0][1] == {
        "project_id": str(PROJECT),
        "from_date": "2026-11-01",
        "to_date": "2026-11-01",
        "time_in_ms": "true",
    }


def test_a_broken_plain_answer_is_noticed_too(client: MixpanelClient, mixpanel: MixpanelServer, tmp_path: Path) -> None:
    mixpanel.events, mixpanel.faults = [event(n) for n in range(5)], ["broken"]
    assert len(lines(download_day(client, PROJECT, DAY, tmp_path / "a.gz").path)) == 5


def test_the_same_content_has_the_same_digest_and_no_content_is_empty(client: MixpanelClient, tmp_path: Path) -> None:
    first, again = (download_day(client, PROJECT, DAY, tmp_path / name) for name in ("a.gz", "b.gz"))
    assert (first.digest, first.empty) == (again.digest, False)
    assert download_day(client, PROJECT, date(2026, 10, 1), tmp_path / "c.gz").empty


def test_a_fault_that_stays_ends_after_more_than_an_hour(
    client: MixpanelClient,
    mixpanel: MixpanelServer,
    pauses: list[float],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mixpanel.faults = ["503"] * 20
    with pytest.raises(MixpanelError, match=r"Mixpanel has a fault \(HTTP 503\), 9 times. Run the same command later"):
        download_day(client, PROJECT, DAY, tmp_path / "a.gz")
    assert sum(pauses) > 3600
    assert "limit of queries" not in capsys.readouterr().err  # it was not the reason of any pause


@pytest.mark.parametrize(
    ("login", "project", "advice"),
    [
        ("someone:else", PROJECT, r"HTTP 401.*MIXPANEL_USERNAME and MIXPANEL_SECRET"),
        (f"{USERNAME}:{SECRET}", 1, r"HTTP 403.*a role in the project, and check the region"),
    ],
)
def test_a_refusal_is_not_repeated_and_states_the_correction(
    client: MixpanelClient, mixpanel: MixpanelServer, tmp_path: Path, login: str, project: int, advice: str
) -> None:
    with pytest.raises(MixpanelError, match=advice) as refused:
        download_day(MixpanelClient("eu", login, client.limit), project, DAY, tmp_path / "a.gz")
    assert len(mixpanel.requests) == 1
    assert login.partition(":")[2] not in str(refused.value)
    assert SECRET not in repr(client)


def test_the_address_of_a_proxy_is_a_web_address(
    client: MixpanelClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MIXPANEL_ENDPOINT_URL", "file:///etc/passwd")
    with pytest.raises(TailorbirdError, match="MIXPANEL_ENDPOINT_URL cannot be read"):
        download_day(client, PROJECT, DAY, tmp_path / "a.gz")


def test_profiles_come_page_by_page_with_nothing_but_what_is_kept(
    client: MixpanelClient, mixpanel: MixpanelServer, tmp_path: Path
) -> None:
    traits = {"plan": "gold", "$email": "a@example.org", "consent": True, "$last_seen": "2026-11-01T10:00:00"}
    mixpanel.profiles = [{"$distinct_id": n, "$properties": traits} for n in range(25)]
    mixpanel.page_size, mixpanel.faults = 10, ["", "429", "error line", "503"]
    got = download_profiles(client, PROJECT, ["plan", "$email"], ["consent"], tmp_path / "p.gz")
    profiles = [json.loads(line) for line in lines(got.path)]
    assert [one["$distinct_id"] for one in profiles] == list(range(25))
    assert set(profiles[0]["$properties"]) == {"plan", "consent", "$last_seen"}
    assert [given.get("page", "0") for _, given in mixpanel.requests] == ["0", "1", "1", "1", "1", "2"]


@dataclass
class Clock:
    now: float = 1000.0
    pauses: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def sent(limit: RateLimit, clock: Clock, number: int) -> list[float]:
    times = []
    for _ in range(number):
        limit.wait()
        times.append(clock.now)
    return times


def test_three_requests_a_second_and_sixty_an_hour_are_sent() -> None:
    clock = Clock()
    times = sent(RateLimit(clock, clock.sleep), clock, 130)
    assert times[:4] == [1000, 1000, 1000, 1001]
    assert all(later - earlier >= 1 for earlier, later in zip(times, times[3:], strict=False))
    assert all(later - earlier >= 3600 for earlier, later in zip(times, times[60:], strict=False))
    assert times[60] == 4600
    assert times[-1] < 1000 + 2 * 3600 + 60
