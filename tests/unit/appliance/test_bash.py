"""How a bash task is ordered."""

import os
import pwd
import subprocess
from pathlib import Path

import pytest

from appliance import bash
from appliance.bash import ARGUMENT_LIMIT_BYTES, TaskUser
from appliance.errors import OperatorError
from cloudsync.messages import ENTRY_LIMIT_BYTES
from tests.unit.appliance import engines


def test_a_short_script_is_one_argument() -> None:
    assert bash.arguments("echo 'it'") == ("/bin/bash", "--norc", "--noprofile", "-c", "echo 'it'")


@pytest.mark.parametrize("filler", ["x", "ö", "\U0001f4a5"])
@pytest.mark.parametrize("size", [ARGUMENT_LIMIT_BYTES, ARGUMENT_LIMIT_BYTES + 1, ENTRY_LIMIT_BYTES - 1024])
def test_a_script_of_any_length_runs_as_it_is(filler: str, size: int) -> None:
    script = "printf '%s' \"$0 $# '\\\\'\"; exit 5 #"
    script += filler * ((size - len(script)) // len(filler.encode()))
    arguments = bash.arguments(script)
    assert all(len(each.encode()) <= ARGUMENT_LIMIT_BYTES for each in arguments)
    done = subprocess.run(arguments, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (5, b"/bin/bash 0 '\\'", b"")


def test_the_environment_is_the_users_and_the_tasks(tmp_path: Path) -> None:
    spec = engines.bash("echo", env={"A": "b", "LANG": "de_DE"}, stdin="in", cwd="/tmp")
    order = bash.request("t", 2, spec, tmp_path / "t.2", TaskUser.named(None))
    me = pwd.getpwuid(os.geteuid())
    assert order.key == "t.2"
    assert order.cwd == Path("/tmp")
    assert order.user is None
    assert (order.env["A"], order.env["LANG"], order.env["OPERIS_TASK_ID"]) == ("b", "de_DE", "t")
    assert (order.env["HOME"], order.env["USER"], order.env["SHELL"]) == (me.pw_dir, me.pw_name, "/bin/bash")
    assert order.stdin is not None
    assert order.stdin.read_bytes() == b"in"


def test_another_user_is_switched_to_and_an_unknown_one_refused() -> None:
    user = TaskUser.named("nobody")
    assert user.switch_to == ("nobody" if os.geteuid() != pwd.getpwnam("nobody").pw_uid else None)
    assert user.env["USER"] == "nobody"
    with pytest.raises(OperatorError, match="no-such-user does not exist") as caught:
        TaskUser.named("no-such-user")
    assert caught.value.hint


async def test_a_task_runs_as_the_user_it_is_told_to(engines: "engines.Engines") -> None:
    await engines.open(task_user="nobody")
    done = await engines.run("id -un; echo $HOME; cat", stdin="in")
    assert done.outcome.stdout.text.splitlines()[0] == "nobody"
    assert done.outcome.stdout.text.endswith("in")
