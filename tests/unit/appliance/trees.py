"""Shapes that the processes of a task may take to outlive it, and the way their pids reach a test."""

import os
import select
from dataclasses import dataclass
from pathlib import Path

LIMIT_S = 20.0


@dataclass(frozen=True)
class Tree:
    """A bash script that starts one long-lived process, the program $S, and does not wait for it."""

    name: str
    script: str
    keeps_a_mark: bool = True
    """False: it erases both the stamp and the marker."""


TREES = [
    Tree("a child in the background", "$S &"),
    Tree("a grandchild in a session of its own", "(setsid $S & wait) &"),
    Tree("a daemon that forked twice", "(setsid bash -c '$S & exit' &)"),
    Tree("a child in a group of its own", "set -m; $S & set +m"),
    Tree("a child with an empty environment", "env -i $S &"),
    Tree("a daemon with an empty environment", '(env -i setsid bash -c "$S & exit" &)'),
    Tree("a daemon that lowered its limits", "(ulimit -x 5; setsid bash -c '$S & exit' &)"),
    Tree("a daemon without any mark", '(ulimit -x 5; env -i setsid bash -c "$S & exit" &)', keeps_a_mark=False),
]


class Sleepers:
    """The program $S, which reports its pid and then sleeps, and the pids that came."""

    def __init__(self, folder: Path) -> None:
        self.fifo = folder / "pids"
        os.mkfifo(self.fifo)
        self._fd = os.open(self.fifo, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._text = ""
        self.program = folder / "sleeper"
        self.program.write_text(f"#!/bin/bash\necho $$ > {self.fifo}; exec sleep 600\n")
        self.program.chmod(0o755)

    def script(self, tree: Tree) -> str:
        return f"export S={self.program}\n{tree.script}\n"

    def pid(self) -> int:
        """The next pid, as soon as it is told."""
        while "\n" not in self._text:
            if not select.select([self._fd], [], [], LIMIT_S)[0]:
                raise TimeoutError("the process did not start")
            self._text += os.read(self._fd, 4096).decode()
        line, self._text = self._text.split("\n", 1)
        return int(line)

    def close(self) -> None:
        os.close(self._fd)
