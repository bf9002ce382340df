"""How a bash task is ordered."""

import asyncio
import os
import pwd
from dataclasses import replace
from pathlib import Path

import pytest

from appliance import bash
from appliance.bash import TaskUser
from appliance.errors import OperatorError
from appliance.spawner.waiting import FEED_BYTES
from cloudsync.messages import ENTRY_LIMIT_BYTES
from cloudsync.spec import Output
from tests.unit.appliance import engines

# What a script can see of its shell, and ways to end.
SCRIPTS = [
    'echo "$0 $#"',
    "echo 'it'",
    "exit 3",
    "set -e; false; echo not reached",
    "set -u; echo $UNSET; echo not reached",
    "echo $LINENO\n\necho $LINENO; no-such-command",
    "\nno-such-command\n",
    "echo first\nif",
    "echo 'unended",
    "return 3",
    "trap 'echo bye' EXIT; exit 4",
    "f() { echo ${FUNCNAME[*]}; }; f",
    "kill -9 $$",
    "kill -TERM $$; echo not reached",
    "exec true",
    "exec no-such-command",
    "cat; echo [$?]",
    "read x; echo $?",
    'printf %s "$BASH_EXECUTION_STRING"',
    "echo $SECONDS $- $BASH_SUBSHELL",
    "compgen -v | grep -v PIPESTATUS",
    "set -o; shopt",
    "env | grep -v -e ^_= -e ^OPERIS_ | sort",
    "env | grep -c ^OPERIS_",
    "for each in /proc/$$/fd/*; do echo ${each##*/}; done",
    "echo >&9",
    "printf '\\xff\\n'; echo 'ö \U0001f4a5 \\ \\\\'",
    "cat <<end\nhere $(echo and there)\nend\n",
    "sleep 0 & wait $!; echo $?",
    "echo $PWD; pwd; echo $HOME $SHLVL",
    " \t",
    "# nothing",
]


async def plain(script: str) -> tuple[int, str, str]:
    """What `bash -c` makes of it."""
    user = TaskUser.named(None)
    env = {**user.env, "OPERIS_TASK_ID": "", "OPERIS_ATTEMPT": ""}
    process = await asyncio.create_subprocess_exec(
        "/bin/bash",
        "--norc",
        "--noprofile",
        "-c",
        script,
        env=env,
        cwd=user.home,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await process.communicate()
    assert process.returncode is not None
    code = process.returncode if process.returncode >= 0 else 128 - process.returncode
    return code, out.decode(errors="replace"), error.decode()


def named(text: str) -> str:
    """Messages without what stands for the place of the script: `bash -c` says -c there, and its own path."""
    return text.replace("/bin/bash: ", "bash: ").replace("bash: -c: ", "bash: ").replace("bash: eval: ", "bash: ")


@pytest.mark.parametrize("waits", [True, False], ids=["waited", "started"])
async def test_a_script_sees_the_shell_that_it_would_see_by_bash_c(engines: "engines.Engines", waits: bool) -> None:
    engine = await engines.open()
    env = None if waits else {"NOT_PREPARED": ""}
    for script in SCRIPTS:
        if waits:
            await engines.until_a_shell_waits()
        done = await engines.run(script, env=env)
        code, out, error = await plain(script)
        if not waits:
            kept = [line for line in done.outcome.stdout.text.splitlines(True) if "NOT_PREPARED" not in line]
            done = replace(done, outcome=done.outcome.model_copy(update={"stdout": Output(text="".join(kept))}))
        assert (script, done.outcome.exit_code) == (script, code)
        assert (script, done.outcome.stdout.text) == (script, out)
        assert (script, named(done.outcome.stderr.text)) == (script, named(error))
    assert not engine.executor.running


@pytest.mark.parametrize("filler", ["x", "ö", "\U0001f4a5"])
@pytest.mark.parametrize("size", [FEED_BYTES - 200, FEED_BYTES + 1, 128 * 1024, ENTRY_LIMIT_BYTES - 8192])
async def test_a_script_of_any_length_runs_as_it_is(engines: "engines.Engines", filler: str, size: int) -> None:
    await engines.open()
    script = "printf '%s' \"$0 $# '\\\\'\"; exit 5 #"
    script += filler * ((size - len(script)) // len(filler.encode()))
    done = await engines.run(script)
    assert (done.outcome.exit_code, done.outcome.stdout.text, done.outcome.stderr.text) == (5, "/bin/bash 0 '\\'", "")


def test_the_environment_is_the_users_and_the_tasks(tmp_path: Path) -> None:
    spec = engines.bash("echo", env={"A": "b", "LANG": "de_DE"}, stdin="in", cwd="/tmp")
    order = bash.request("t", 2, spec, tmp_path / "t.2", TaskUser.named(None))
    me = pwd.getpwuid(os.geteuid())
    assert order.key == "t.2"
    assert order.program is not None
    assert order.program.cwd == Path("/tmp")
    assert order.program.user is None
    env = order.program.env
    assert (env["A"], env["LANG"], env["OPERIS_TASK_ID"]) == ("b", "de_DE", "t")
    assert (env["HOME"], env["USER"], env["SHELL"]) == (me.pw_dir, me.pw_name, "/bin/bash")
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
