"""The last message of an ingest names the files that were not ingested."""

import pytest

from tasks.ingest.list_files import FilesRefusedError, refuse


def test_each_refused_file_is_named_once() -> None:
    reasons = {"/data/a.csv": "/data/a.csv breaks its contract: it has no rows.", "/data/b.csv": "Batch 7 was refused."}

    with pytest.raises(FilesRefusedError) as refused:
        refuse(reasons, 1)

    assert str(refused.value).splitlines() == [
        "2 of 3 files were not ingested:",
        "  /data/a.csv breaks its contract: it has no rows.",
        "  /data/b.csv: Batch 7 was refused.",
        "The other 1 were ingested and stay.",
    ]
