from infra.lake.compaction import ADVISED_FROM, MonthFiles, advice, mergeable

MB = 2**20


def months(files: int, size: int) -> list[MonthFiles]:
    return [MonthFiles(files, 1, size, "2026-01"), MonthFiles(1, 1, MB, "2026-02")]


def test_only_files_that_merging_saves_are_counted() -> None:
    assert mergeable(months(1, 80 * MB)) == 0
    assert mergeable(months(9, 800 * MB)) == 1
    assert mergeable(months(300, 30 * MB)) == 299


def test_compaction_is_advised_once_there_are_many_small_files() -> None:
    assert advice(months(ADVISED_FROM, 20 * MB)) is None
    assert advice([]) is None
    sentence = advice(months(ADVISED_FROM + 1, 20 * MB))
    assert sentence is not None
    assert "tailorbird lake compact" in sentence
