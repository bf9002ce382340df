"""The admin commands of `operis-hub`."""

import json
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from hub.cli import main
from hub.store import connect
from tests.unit.hub.served import PROGRAM


class Cli:
    """Runs commands on one folder."""

    def __init__(self, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.data = data
        self._capsys = capsys

    def __call__(self, *command: str, status: int = 0) -> str:
        """What the command prints; with another status, what it says is wrong."""
        self._capsys.readouterr()
        try:
            found = main([*command, "--data", str(self.data)])
        except SystemExit as ended:
            found = int(str(ended.code))
        captured = self._capsys.readouterr()
        assert found == status, captured
        if status:
            lines = captured.err.strip().splitlines()
            assert lines[0].startswith("operis-hub: ")
            assert lines[-1].startswith("hint: "), lines
            return captured.err
        return captured.out.strip()

    def json(self, *command: str) -> Any:
        """The command's JSON."""
        return json.loads(self(*command, "--json"))


@pytest.fixture
def cli(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(tmp_path / "hub", capsys)


def test_keys_and_tokens_are_printed_alone(cli: Cli) -> None:
    assert cli("customer", "add", "acme") == "acme"
    for secret in (
        cli("admin-key"),
        cli("key", "add", "--customer", "acme", "--role", "operator"),
        cli("token", "add", "--customer", "acme"),
    ):
        assert len(secret.split()) == 1
        assert secret.startswith(("opk_", "opt_"))
        assert len(secret) > 40


def test_admin_key_stays_until_it_is_rotated(cli: Cli) -> None:
    first = cli("admin-key")
    assert cli("admin-key") == first
    second = cli("admin-key", "--rotate")
    assert second != first
    assert cli.json("admin-key") == {"key": second}


def test_lists_show_no_secret_and_know_what_was_revoked(cli: Cli) -> None:
    cli("customer", "add", "acme", "--plan", "starter")
    cli("customer", "add", "other")
    key = cli.json("key", "add", "--customer", "acme", "--role", "admin")
    token = cli.json("token", "add", "--customer", "acme", "--uses", "3", "--ttl", "60")
    assert (token["uses_left"], token["box_id"]) == (3, None)
    for kind, made in (("key", key), ("token", token)):
        listed = cli(kind, "list")
        assert made["id"] in listed
        assert made[kind] not in listed
        assert "hash" not in listed
        assert cli.json(kind, "list", "--customer", "other")["items"] == []
        assert cli(kind, "revoke", made["id"]) == made["id"]
        (row,) = [item for item in cli.json(kind, "list")["items"] if item["id"] == made["id"]]
        assert row["revoked_at"].endswith("Z")
    names = [(item["name"], item["plan"]) for item in cli.json("customer", "list")["items"]]
    assert names == [("acme", "starter"), ("other", "unlimited")]
    assert cli("customer", "revoke", "acme") == "acme"


def test_empty_list_is_no_error(cli: Cli) -> None:
    assert cli("customer", "list") == ""
    assert cli.json("token", "list") == {"items": [], "next": None}


def test_what_is_wrong_is_named_with_what_to_do(cli: Cli) -> None:
    cli("customer", "add", "acme")
    assert "acme" in cli("key", "add", "--customer", "nobody", "--role", "admin", status=1)
    assert "nobody" in cli("token", "list", "--customer", "nobody", status=1)
    assert "exists" in cli("customer", "add", "acme", status=1)
    assert "k-none" in cli("key", "revoke", "k-none", status=1)
    assert "t-none" in cli("token", "revoke", "t-none", status=1)
    assert "nobody" in cli("customer", "revoke", "nobody", status=1)
    assert "uses" in cli("token", "add", "--customer", "acme", "--uses", "0", status=1)
    assert "ttl" in cli("token", "add", "--customer", "acme", "--ttl", "nan", status=1)
    assert "box-9" in cli("token", "add", "--customer", "acme", "--box", "box-9", status=1)


@pytest.mark.parametrize(
    "command",
    [
        ["teapot"],
        ["customer"],
        ["customer", "add"],
        ["customer", "add", "x", "--plan", "gold"],
        ["key", "add", "--customer", "acme", "--role", "root"],
        ["token", "add", "--customer", "acme", "--uses", "many"],
        ["admin-key", "--color"],
    ],
)
def test_command_line_that_is_wrong_is_exit_2(cli: Cli, command: list[str]) -> None:
    cli(*command, status=2)


def test_full_disk_is_told_without_a_traceback(tmp_path: Path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", mount], check=True)
    try:
        command = [*PROGRAM, "customer", "add", "x" * 90, "--data", str(mount)]
        assert subprocess.run(command, capture_output=True, check=False).returncode == 0
        with suppress(OSError), (mount / "ballast").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        said, number = "", 0
        while not said and (number := number + 1) < 60:
            command[-3] = f"{number:090}"
            said = subprocess.run(command, capture_output=True, text=True, check=False).stderr
        assert said.startswith("operis-hub: ")
        assert "disk" in said.partition("hint: ")[2]
        assert "Traceback" not in said
    finally:
        subprocess.run(["umount", "-l", mount], check=True)


def test_lock_that_is_held_too_long_is_told(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli("customer", "add", "acme")
    monkeypatch.setattr("hub.store.BUSY_TIMEOUT_MS", 20)
    holder = connect(cli.data / "hub.db")
    holder.execute("BEGIN IMMEDIATE")
    assert "locked" in cli("customer", "add", "other", status=1)
    holder.close()
