"""infra/deploy/setup.sh checks before it starts: it names missing parts, and leaves nothing half done."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "infra" / "deploy" / "setup.sh"
TOO_NEW = "#!/bin/sh\nexit 1\n"
# Answers like a Python that is supported; asked for its facts (on standard input) it prints `facts`.
SUPPORTED = '#!/bin/sh\n[ "$1" != - ] || echo "{facts}"\n'
NEEDS_NOTHING = SUPPORTED.format(facts="1 1 gcc")
COMPILES = SUPPORTED.format(facts="0 1 gcc")


def check(folder: Path, python: str = "", **programs: str) -> subprocess.CompletedProcess[str]:
    """Run the checks where only these programs exist."""
    for name, text in programs.items():
        program = folder / name.replace("_", ".")
        program.write_text(text)
        program.chmod(0o755)
    return subprocess.run(
        ["/bin/sh", SCRIPT, "--check"],
        cwd=folder,
        env={"PATH": str(folder), "PYTHON": python},
        check=False,
        capture_output=True,
        text=True,
    )


def test_the_python_that_runs_the_tests_is_good_enough(tmp_path: Path) -> None:
    assert check(tmp_path, gcc=TOO_NEW, python3=f'#!/bin/sh\nexec "{sys.executable}" "$@"\n').returncode == 0


def test_another_python_is_taken_when_python3_is_not_supported(tmp_path: Path) -> None:
    assert check(tmp_path, python3=TOO_NEW, python3_12=NEEDS_NOTHING).returncode == 0


def test_a_setup_without_a_supported_python_names_the_supported_ones(tmp_path: Path) -> None:
    refused = check(tmp_path, python3=TOO_NEW)
    assert refused.returncode == 1
    assert "needs Python 3.11, 3.12 or 3.13" in refused.stderr


def test_a_python_asked_for_that_does_not_fit_is_refused_not_replaced(tmp_path: Path) -> None:
    refused = check(tmp_path, python="python3.14", python3=NEEDS_NOTHING)
    assert refused.returncode == 1
    assert "PYTHON=python3.14" in refused.stderr


def test_a_missing_compiler_is_named_before_anything_starts_if_lightfm_is_compiled(tmp_path: Path) -> None:
    refused = check(tmp_path, python3=COMPILES)
    assert refused.returncode == 1
    assert "apt-get install gcc" in refused.stderr
    assert not (tmp_path / ".venv").exists()


def test_any_of_the_usual_compilers_will_do(tmp_path: Path) -> None:
    accepted = check(tmp_path, python3=COMPILES, clang=TOO_NEW)
    assert accepted.returncode == 0
    assert "compiled with clang" in accepted.stdout


def test_missing_headers_are_named_if_lightfm_is_compiled(tmp_path: Path) -> None:
    refused = check(tmp_path, python3=SUPPORTED.format(facts="0 0 gcc"), gcc=TOO_NEW)
    assert refused.returncode == 1
    assert "Python.h" in refused.stderr


def test_every_make_command_of_the_pages_exists() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    named_targets = {
        name for page in pages for name in re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(), re.MULTILINE)
    }
    targets = {
        name for line in re.findall(r"^([a-z -]+):", (ROOT / "Makefile").read_text(), re.M) for name in line.split()
    }
    assert "setup" in named_targets
    assert named_targets <= targets


def test_the_page_sets_up_before_it_activates() -> None:
    own_data = (ROOT / "README.md").read_text().split("## Your own data")[1]
    assert own_data.index("make setup") < own_data.index(". .venv/bin/activate")
