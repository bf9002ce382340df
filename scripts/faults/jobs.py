"""The tasks of a campaign: what each is asked to do, and what must come of it."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

LINE: Final = "0" * 1022 + "7"
LINES: Final = 100
TICKS: Final = 15


@dataclass(frozen=True)
class Job:
    """One task to submit. `key` is its Idempotency-Key and its name in the diary."""

    key: str
    shape: str
    script: str
    is_idempotent: bool
    exit_code: int
    stdout: str

    def body(self, diary: Path) -> dict[str, Any]:
        """The request's body: the script between two lines that it adds to the diary, each by one O_APPEND write."""
        mark = f'printf "%s {self.key} $OPERIS_ATTEMPT\\n"'
        command = f"{mark} s >> {diary}\n{self.script}\n{mark} e >> {diary}\nexit {self.exit_code}\n"
        return {"kind": "bash.exec", "command": command, "idempotent": self.is_idempotent}


def make_job(seed: int, number: int) -> Job:
    """The job of this number: always the same for the same seed."""
    chance = random.Random(f"{seed}.{number}")
    key = f"job-{seed}-{number:06d}"
    shape = chance.choices(
        ["instant", "brief", "second", "long", "large", "trickle", "offspring"], weights=[27, 25, 20, 5, 10, 10, 3]
    )[0]
    script, stdout = _script(shape, key, chance)
    return Job(
        key=key,
        shape=shape,
        script=script,
        is_idempotent=chance.random() < 0.25,
        exit_code=3 if chance.random() < 0.1 else 0,
        stdout=stdout,
    )


def _script(shape: str, key: str, chance: random.Random) -> tuple[str, str]:
    match shape:
        case "instant":
            return f"echo {key}", f"{key}\n"
        case "brief":
            return f"echo {key}; sleep 0.05", f"{key}\n"
        case "second":
            return f"sleep {chance.uniform(0.1, 1.0):.2f}; echo {key}", f"{key}\n"
        case "long":
            return f"echo {key}; sleep 2; echo {key}", f"{key}\n{key}\n"
        case "large":
            script = f"printf -v line %01023d 7\nfor n in {{1..{LINES}}}; do echo $line; done"
            return script, f"{LINE}\n" * LINES
        case "trickle":
            script = f"for n in {{1..{TICKS}}}; do echo {key} $n; sleep 0.05; done"
            return script, "".join(f"{key} {n}\n" for n in range(1, TICKS + 1))
        case "offspring":
            # It outlives its leader, in a session of its own, and only SIGKILL ends it.
            return f"setsid bash -c \"trap '' TERM; sleep 600\" > /dev/null 2>&1 & echo {key}", f"{key}\n"
        case _:
            raise AssertionError(shape)
