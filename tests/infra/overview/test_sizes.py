"""The sizes of stores are those of a recount."""

from pathlib import Path

from sqlalchemy import text

from infra.installation import Installation
from infra.overview.sizes import sizes


def test_sizes_of_tables_and_folders_are_counted_from_one_mebibyte_on_the_largest_first(
    installation: Installation, tmp_path: Path
) -> None:
    var = tmp_path / "another"
    for name, size in (("bundles/a/b", 3_000_000), ("bundles/c", 200_000), ("log/small", 1_000), ("file", 2_000_000)):
        (var / name).parent.mkdir(parents=True, exist_ok=True)
        (var / name).write_bytes(bytes(size))
    (var / "bundles" / "link").symlink_to(var / "file")
    with installation.engine.begin() as connection:
        connection.execute(text("CREATE TABLE large (x text) PARTITION BY LIST (x)"))
        for name in ("one", "two"):
            connection.execute(text(f"CREATE TABLE {name} PARTITION OF large FOR VALUES IN ('{name}')"))
            connection.execute(text(f"INSERT INTO large SELECT '{name}' FROM generate_series(1, 40000)"))
        found = sizes(connection, installation.settings.model_copy(update={"var": var}))
        expected = connection.execute(text("SELECT pg_total_relation_size('one') + pg_total_relation_size('two')"))
        assert found["table large"] == expected.scalar_one()
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert {name: size for name, size in found.items() if not name.startswith("table")} == {
        "var/bundles": 3_200_000 + (var / "bundles" / "link").lstat().st_size,
        "var": 2_000_000,
    }
