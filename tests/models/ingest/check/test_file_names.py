import pytest

from models.ingest.check.file_names import file_name, some_names


@pytest.mark.parametrize(
    ("location", "name"),
    [
        ("/data/shop/orders.csv", "orders.csv"),
        ("/data/orders?.csv", "orders?.csv"),
        ("orders.csv", "orders.csv"),
        ("s3://bucket/month/orders.csv", "orders.csv"),
        ("s3://ann:secret@bucket/orders.csv?token=secret/of/ann", "orders.csv"),
        ("s3://ann:secret@bucket", ""),
        ("", ""),
    ],
)
def test_a_file_is_named_without_its_folder_and_without_a_password(location: str, name: str) -> None:
    assert file_name(location) == name


def test_at_most_three_files_are_named() -> None:
    assert some_names(["/x/a", "/x/b", "/x/c"]) == "a, b, c"
    assert some_names([f"/x/{n}" for n in range(17)]) == "0, 1, 2 and 14 more"
