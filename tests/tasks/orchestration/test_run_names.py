"""Names of runs state what they do, and to what."""

from prefect import flow

from tasks.orchestration import run_names


def test_an_ingest_names_its_source_and_files() -> None:
    paths = ["/data/orders.csv", "s3://bucket/more/"]
    assert run_names.ingest({"mapping": "/shop/my_shop.toml", "paths": paths}) == "ingest my_shop orders.csv more"
    many = [f"{number}.csv" for number in range(9)]
    assert run_names.ingest({"mapping": "segment", "source": "web", "paths": many}).endswith("2.csv and 6 more")


def test_the_name_of_a_file_is_one_short_line_without_controls() -> None:
    assert run_names.short("a\nb\x1b[2J") == "a b\\x1b[2J"
    assert len(run_names.short("x" * 999)) == 100
    assert run_names.of_file("ingest items")(parameters={"file": "/data/items{0}.csv"}) == "ingest items items{0}.csv"


def test_prefect_accepts_the_names() -> None:
    assert (
        flow(flow_run_name=run_names.flow_run_name(run_names.score))(lambda: None).flow_run_name()
        == "score all placements"
    )
