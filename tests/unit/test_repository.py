"""The repository itself: what its files may hold, its verbs, its locks, and what it builds."""

import ast
import importlib.metadata
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import pysqlite3.dbapi2
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCKS = ("requirements.lock", "requirements-dev.lock")
# Of an application that tests visit, which runs beside Operis and shares nothing with it.
VISITED_LOCK = "tests/pages/application.lock"
PIN = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>[^ ;]+)(?: ; [^\\]+)? \\")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}(?: \\)?")

# Written in pieces, so that this file does not hold what it looks for.
MACHINE_PATH = re.compile(
    r"(?<![\w.~$})/-])/(?:" + "|".join(("wor" + "k", "roo" + "t", "hom" + "e", "Use" + "rs")) + r")/"
)
REGISTRY = re.compile(
    "|".join(("py" + r"pi\.org", "python" + r"hosted\.org", r"(?:deb|security)\.deb" + r"ian\.org", "npm" + r"js\.org"))
    + "|"
    + "|".join(("index" + "[-_]url", "--find" + "-links", "trusted" + "-host")),
    re.IGNORECASE,
)
UNFINISHED = re.compile(r"\b(?:" + "|".join(("TO" + "DO", "FIX" + "ME", "X" + "XX", "HA" + "CK")) + r")\b")


@cache
def files() -> tuple[Path, ...]:
    """Every file that is tracked, or would be by adding all."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    ).stdout.decode()
    found = (ROOT / name for name in listed.split("\0") if name)
    return tuple(sorted(path for path in found if path.is_file()))


def lines_with(pattern: re.Pattern[str]) -> list[str]:
    """Where the pattern stands, as `file:line`, in each file that is text."""
    found = []
    for path in files():
        content = path.read_bytes()
        if b"\0" in content:
            continue
        lines = content.decode("utf-8", errors="replace").splitlines()
        where = (number for number, line in enumerate(lines, start=1) if pattern.search(line))
        found += [f"{path.relative_to(ROOT)}:{number}" for number in where]
    return found


def pins(lock: str) -> dict[str, str]:
    """The version that a lock holds of each package."""
    lines = (ROOT / lock).read_text(encoding="utf-8").splitlines()
    return {found["name"]: found["version"] for line in lines if (found := PIN.fullmatch(line))}


def test_this_file_is_among_those_looked_at() -> None:
    assert Path(__file__) in files()


@pytest.mark.parametrize(
    ("pattern", "found", "passed"),
    [
        (
            MACHINE_PATH,
            ["cd /wor" + "k/x", "'/roo" + "t/.cache'", "file:/hom" + "e/me/x"],
            ["$D/wor" + "k/x", "a/roo" + "t/b"],
        ),
        (REGISTRY, ["see py" + "pi.org", "--extra-index" + "-url x"], ["the index of a url", "deb file"]),
        (UNFINISHED, ["# TO" + "DO: more"], ["todos", "what to do"]),
    ],
)
def test_what_must_not_be_held_is_recognised(pattern: re.Pattern[str], found: list[str], passed: list[str]) -> None:
    assert all(pattern.search(line) for line in found)
    assert not any(pattern.search(line) for line in passed)


def test_no_file_holds_the_path_of_a_machine() -> None:
    assert lines_with(MACHINE_PATH) == []


def test_no_file_names_a_registry_or_an_index() -> None:
    # The resolver's option that keeps addresses out of the locks has to be named where it is used.
    assert [where for where in lines_with(REGISTRY) if not where.startswith("scripts/lock:")] == []


def test_no_file_says_that_it_is_unfinished() -> None:
    assert lines_with(UNFINISHED) == []


def test_each_verb_is_executable_and_names_its_interpreter() -> None:
    scripts = [path for path in files() if path.parent == ROOT / "scripts" and not path.suffix]
    verbs = [*scripts, ROOT / ".ci" / "run"]
    assert {"check", "lock", "test"} <= {verb.name for verb in verbs}
    assert [verb.name for verb in verbs if not verb.stat().st_mode & 0o111] == []
    assert [verb.name for verb in verbs if not verb.read_bytes().startswith(b"#!/usr/bin/env ")] == []


def test_the_sourced_script_is_no_verb() -> None:
    assert not (ROOT / "scripts" / "setup.sh").stat().st_mode & 0o111


@pytest.mark.parametrize("lock", [*LOCKS, VISITED_LOCK])
def test_locks_hold_pinned_hashed_packages_and_no_address(lock: str) -> None:
    previous = ""
    for number, line in enumerate((ROOT / lock).read_text(encoding="utf-8").splitlines(), start=1):
        assert PIN.fullmatch(line) or HASH.fullmatch(line), f"{lock}:{number} holds more than a pin or a hash: {line}"
        # A line that is not continued ends a pin, and one that is continued goes on with a hash of it.
        assert bool(PIN.fullmatch(line)) != previous.endswith("\\"), f"{lock}:{number} is out of place"
        previous = line
    assert previous
    assert not previous.endswith("\\")


@pytest.mark.parametrize(("lock", "extras"), [(LOCKS[0], ()), (LOCKS[1], ("dev",))])
def test_each_lock_satisfies_what_the_project_asks_for(lock: str, extras: tuple[str, ...]) -> None:
    asked = [*PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"]]
    asked += [each for extra in extras for each in PROJECT["project"]["optional-dependencies"][extra]]
    held = pins(lock)
    requirements = [Requirement(each) for each in asked]
    stale = [str(each) for each in requirements if held.get(canonicalize_name(each.name), "0") not in each.specifier]
    assert stale == [], "run scripts/lock"


def test_both_locks_agree() -> None:
    run, dev = (pins(lock) for lock in LOCKS)
    assert run.items() <= dev.items()


def test_the_installed_version_is_that_of_the_project() -> None:
    assert importlib.metadata.version("operis") == PROJECT["project"]["version"]


def test_the_changelog_tells_of_the_version() -> None:
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    version: str = PROJECT["project"]["version"]
    assert headings[0] == "Unreleased"
    assert ".dev" in version or headings[1] == version


def test_folders_named_like_a_library_hold_no_package() -> None:
    assert [name for name in ("packaging", "systemd", "image") if (ROOT / name / "__init__.py").exists()] == []


def test_each_package_docstring_is_one_line_and_all_there_is() -> None:
    packages = [path for path in files() if path.name == "__init__.py"]
    assert packages
    for path in packages:
        body = ast.parse(path.read_text(encoding="utf-8")).body
        only = body[0] if len(body) == 1 else None
        assert isinstance(only, ast.Expr), f"{path.relative_to(ROOT)} holds more than a docstring"
        assert only.lineno == only.end_lineno, f"the docstring of {path.relative_to(ROOT)} has several lines"


def test_each_name_that_is_typed_for_pysqlite3_exists() -> None:
    stub = ast.parse((ROOT / "tests" / "stubs" / "pysqlite3" / "dbapi2.pyi").read_text(encoding="utf-8"))
    imported = [node for node in stub.body if isinstance(node, ast.ImportFrom) and node.module == "sqlite3.dbapi2"]
    names = [alias.name for node in imported for alias in node.names]
    assert names
    assert [name for name in names if not hasattr(pysqlite3.dbapi2, name)] == []


def test_wheel_holds_the_three_packages_and_no_other(tmp_path: Path) -> None:
    source, built = tmp_path / "source", tmp_path / "built"
    for path in files():
        copy = source / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    built.mkdir()
    build = "import setuptools.build_meta, sys; setuptools.build_meta.build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(built)], cwd=source, check=True, capture_output=True)
    (wheel,) = built.glob("operis-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    shipped = {".py", ".sql", ".html", ".css", ".js", ".svg"}
    packages = ("appliance", "cloudsync", "hub")
    inside = [path.relative_to(ROOT) for path in files() if path.relative_to(ROOT).parts[0] in packages]
    assert held == {path.as_posix() for path in inside if path.suffix in shipped}
    assert [path.as_posix() for path in inside if path.suffix not in shipped] == [], "name its kind in package-data"
