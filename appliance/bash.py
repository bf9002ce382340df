"""How a bash task is started: program, environment, folder, and the files it needs."""

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from appliance.errors import FolderUnusable
from appliance.folder import attempt_key
from appliance.spawn import SpawnRequest
from cloudsync.spec import BashExec

PROGRAM: Final = "/bin/bash"
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Linux takes no single argument over 128 KiB (execve(2), MAX_ARG_STRLEN).
ARGUMENT_LIMIT_BYTES: Final = 100 * 1024


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


def request(
    task_id: str, attempt: int, spec: BashExec, folder: Path, user: TaskUser, reuse: Path | None = None
) -> SpawnRequest:
    """The order for one attempt; writes its standard input into `folder`. Raises `OSError`."""
    stdin = None
    if spec.stdin:
        folder.mkdir(mode=0o700, exist_ok=True)
        stdin = folder / "stdin"
        stdin.write_bytes(spec.stdin.encode())
    return SpawnRequest(
        key=attempt_key(task_id, attempt),
        folder=folder,
        argv=arguments(spec.command),
        env={**user.env, "OPERIS_TASK_ID": task_id, **(spec.env or {})},
        cwd=user.home if spec.cwd is None else Path(spec.cwd),
        stdin=stdin,
        user=user.switch_to,
        reuse=reuse,
    )


def arguments(command: str) -> tuple[str, ...]:
    """The command line that runs a script; a long one is put together again from several arguments."""
    shell = (PROGRAM, "--norc", "--noprofile", "-c")
    if len(command) * 4 <= ARGUMENT_LIMIT_BYTES or len(command.encode()) <= ARGUMENT_LIMIT_BYTES:
        return (*shell, command)
    parts = _parts(command)
    joined = "".join(f"${{{number}}}" for number in range(1, len(parts) + 1))
    # The script finds no positional parameters, as it would not without this.
    return (*shell, f'set -- "{joined}"; eval "set --; $1"', PROGRAM, *parts)


def _parts(command: str) -> list[str]:
    step = ARGUMENT_LIMIT_BYTES // 4  # a character has at most four bytes
    return [command[start : start + step] for start in range(0, len(command), step)]
