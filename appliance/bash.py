"""How a bash task is started: program, environment, folder, and the files it needs."""

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from appliance.errors import FolderUnusable
from appliance.folder import attempt_key
from appliance.spawn import FEED_FD, MARKER, Program, SpawnRequest
from cloudsync.spec import BashExec

PROGRAM: Final = "/bin/bash"
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# The shell reads its script before it begins, so that it can be started before there is one. All of it is one line,
# since the script's lines are counted from there, and only names that bash has anyway are used. SECONDS counts from
# the task's begin.
_SCRIPT: Final = (
    f'IFS= read -r -d "" -u {FEED_FD} {MARKER} && IFS= read -r -d "" -u {FEED_FD} OPERIS_TASK_ID && '
    f'IFS= read -r -d "" -u {FEED_FD} BASH_EXECUTION_STRING || exit; '
    f'exec {FEED_FD}<&-; SECONDS=0; eval "$BASH_EXECUTION_STRING"'
)
SHELL: Final = (PROGRAM, "--norc", "--noprofile", "-c", _SCRIPT)


@dataclass(frozen=True, slots=True)
class TaskUser:
    """The user as whom tasks run; `switch_to` is None where that is the daemon's own."""

    home: Path
    env: Mapping[str, str]
    switch_to: str | None

    @classmethod
    def named(cls, name: str | None) -> Self:
        """The user of this name, or the daemon's own; `FolderUnusable` is not raised for a home that is missing."""
        try:
            entry = pwd.getpwuid(os.geteuid()) if name is None else pwd.getpwnam(name)
        except KeyError:
            if name is not None:
                raise FolderUnusable(
                    f"the task user {name} does not exist", "Create it, or name another with --task-user."
                ) from None
            uid = str(os.geteuid())
            return cls(Path("/"), _environment("/", uid), None)
        home = Path(entry.pw_dir if Path(entry.pw_dir).is_dir() else "/")
        switch_to = None if entry.pw_uid == os.geteuid() else entry.pw_name
        return cls(home, _environment(entry.pw_dir, entry.pw_name), switch_to)


def _environment(home: str, user: str) -> dict[str, str]:
    return {"PATH": PATH, "HOME": home, "USER": user, "LOGNAME": user, "SHELL": PROGRAM, "LANG": "C.UTF-8"}


def prepared(user: TaskUser) -> Program:
    """The shell of a task that says nothing of its environment or folder; it may wait for its task."""
    # Variables that are in the environment when they are read stay there.
    return Program(SHELL, {**user.env, "OPERIS_TASK_ID": ""}, user.home, user.switch_to)


def request(
    task_id: str, attempt: int, spec: BashExec, folder: Path, user: TaskUser, reuse: Path | None = None
) -> SpawnRequest:
    """The order for one attempt; writes its standard input into `folder`. Raises `OSError`."""
    stdin = None
    if spec.stdin:
        folder.mkdir(mode=0o700, exist_ok=True)
        stdin = folder / "stdin"
        stdin.write_bytes(spec.stdin.encode())
    program = None
    if spec.env or spec.cwd is not None:
        env = {**user.env, "OPERIS_TASK_ID": task_id, **(spec.env or {})}
        program = Program(SHELL, env, user.home if spec.cwd is None else Path(spec.cwd), user.switch_to)
    key = attempt_key(task_id, attempt)
    return SpawnRequest(
        key=key, folder=folder, program=program, feed=(key, task_id, spec.command), stdin=stdin, reuse=reuse
    )
