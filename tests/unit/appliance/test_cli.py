"""The `operis-box` command in process: what it takes and how it ends."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from appliance import cli
from appliance.errors import EXIT_NOT_RUNNING, EXIT_OPERATOR, EXIT_USAGE


def test_the_exit_statuses_are_those_of_the_errors() -> None:
    assert (cli.FAILED, cli.USAGE, cli.NOT_RUNNING) == (EXIT_OPERATOR, EXIT_USAGE, EXIT_NOT_RUNNING)


def test_help_says_how_the_commands_end_that_attend_a_task(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "Of 'exec': the task's own; of 'browse': 1 where a step failed. Of both: 124 timed out; 255" in said


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["status", "--help"], ["--version"]])
def test_help_and_version_are_printed(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 0
    assert "operis" in capsys.readouterr().out


def test_run_takes_what_the_contract_says(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["run", "--help"])
    text = capsys.readouterr().out
    for flag in ("--data", "--hub", "--web", "--enrol", "--name"):
        assert flag in text


def test_an_error_is_told_with_its_hint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status", "--data", str(tmp_path)]) == cli.FAILED
    message, hint = capsys.readouterr().err.splitlines()
    assert message == f"operis-box: {tmp_path} is not the data folder of a box"
    assert hint.startswith("hint: ")


async def test_status_of_a_stopped_box_is_3_and_json_where_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.unit.appliance.engines import Engines

    own = Engines(tmp_path / "own")
    await own.open()
    await own.end()
    assert cli.main(["status", "--data", str(own.path), "--json"]) == cli.NOT_RUNNING
    assert json.loads(capsys.readouterr().out)["running"] is False
    assert cli.main(["status", "--data", str(own.path)]) == cli.NOT_RUNNING
    assert "not running" in capsys.readouterr().out


def test_commands_that_ask_the_daemon_load_nothing_that_is_slow() -> None:
    slow = {"pydantic", "pydantic_settings", "playwright", "yaml", "asyncio", "pysqlite3", "rich", "psutil"}
    modules = "appliance.cli, appliance.client.tasks, appliance.client.execute, appliance.client.browse"
    code = f"import sys, {modules}; print(*sorted({slow} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
