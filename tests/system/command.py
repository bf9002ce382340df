"""Commands of ours as an operator starts them: to their end, or beside the test."""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from tests.system.plant import Plant
from tests.system.program import BIN

LIMIT_S = 60.0


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    status: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        """Its stdout."""
        return self.out.decode()


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """The environment of the test without settings of ours, and these."""
    return {name: value for name, value in os.environ.items() if not name.startswith("OPERIS_")} | dict(more)


def call(name: str, *arguments: str, env: Mapping[str, str] | None = None, given: bytes = b"") -> Done:
    """Run `operis`, `operis-hub` or `operis-box` to its end."""
    done = subprocess.run(
        [BIN / name, *arguments],
        input=given,
        capture_output=True,
        env=environment(env or {}),
        timeout=LIMIT_S,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr.decode())


class Operator:
    """Someone at a terminal who has a key of a plant's hub."""

    def __init__(self, plant: Plant, role: str = "operator") -> None:
        key = plant.api(role).key
        assert key is not None
        self.key = key
        self.env = {"OPERIS_HUB": plant.url, "OPERIS_KEY": key}

    def __call__(self, *arguments: str, given: bytes = b"") -> Done:
        """Run `operis` to its end."""
        return call("operis", *arguments, env=self.env, given=given)

    def start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        """Start `operis`; its output comes by pipes."""
        return subprocess.Popen(
            [BIN / "operis", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(self.env),
        )
