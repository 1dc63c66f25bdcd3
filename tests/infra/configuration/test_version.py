import re

from infra.configuration.version import git_commit, package_version


def test_the_package_has_a_version() -> None:
    assert re.match(r"\d+\.\d+", package_version())


def test_the_code_is_named_by_its_commit_or_else_by_its_version() -> None:
    assert re.fullmatch(rf"[0-9a-f]{{40}}(-dirty)?|tailorbird {re.escape(package_version())}", git_commit())
