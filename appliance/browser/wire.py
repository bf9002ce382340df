"""What daemon and runner say to each other: JSON lines on a Unix socket.

Theory of operation. The daemon listens on an abstract address, starts the runner through the spawner and tells it
address and token in its environment. The runner connects and says `hello`; then, once its browser is up, `ready`.
From then on the daemon hands it attempts (`run`), which the runner answers with `started`, one `stepped` a step and
exactly one `done`. Either end that is gone is known by the end of the stream: the runner then ends at once, and the
daemon takes what the runner had in hand for lost.
"""

from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from cloudsync.spec import BrowserRun, ErrorBody, StepResult

# Above any message: a spec or the value of a step, encoded, with room to spare.
LINE_LIMIT_BYTES: Final = 4 * 1024 * 1024


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True)


class Place(_Message):
    """Where the runner finds its daemon, and what it must keep to; it gets this in its environment."""

    address: str
    """Of the abstract socket, without the NUL before it."""
    token: str = Field(repr=False)
    slots: int
    """How many tasks run at once, and how many contexts are made ahead."""
    memory_limit_mib: int
    """What browser, driver and runner may take together."""
    program: str | None
    """The browser to use; None: the first that is found."""


# To the runner


class Run(_Message):
    """Perform the steps of an attempt."""

    type: Literal["run"] = "run"
    key: str
    spec: BrowserRun
    folder: str
    """Where the attempt's files go."""
    secrets: dict[str, str] = Field(repr=False)
    """Those that the spec names."""
    state_file: str | None
    """The storage state to begin with."""


class Cancel(_Message):
    """End an attempt: `done` follows soon."""

    type: Literal["cancel"] = "cancel"
    key: str


class Quit(_Message):
    """End when nothing is in hand."""

    type: Literal["quit"] = "quit"


ToRunner = Annotated[Run | Cancel | Quit, Field(discriminator="type")]
TO_RUNNER: Final[TypeAdapter[Run | Cancel | Quit]] = TypeAdapter(ToRunner)


# To the daemon


class Hello(_Message):
    """The first message."""

    type: Literal["hello"] = "hello"
    token: str = Field(repr=False)


class Browser(_Message):
    """The browser that runs."""

    program: str
    version: str
    has_sandbox: bool


class Ready(_Message):
    """The browser is up."""

    type: Literal["ready"] = "ready"
    browser: Browser


class Unable(_Message):
    """The browser cannot be had; the runner ends."""

    type: Literal["unable"] = "unable"
    error: ErrorBody


class Started(_Message):
    """The attempt's first step begins."""

    type: Literal["started"] = "started"
    key: str


class Stepped(_Message):
    """A step has ended. `index` is from 0 on."""

    type: Literal["stepped"] = "stepped"
    key: str
    index: int
    result: StepResult


class RunState(StrEnum):
    """How the runner's part of an attempt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"


class LeftFile(_Message):
    """A file that an attempt left in its folder; `name` is its label, `path` where it lies."""

    name: str
    media_type: str
    path: str


class Done(_Message):
    """The attempt is over. Where it succeeded its context is closed right after this, else before it."""

    type: Literal["done"] = "done"
    key: str
    state: RunState
    error: ErrorBody | None = None
    files: tuple[LeftFile, ...] = ()
    state_file: str | None = None
    """The storage state to be kept."""


class Memory(_Message):
    """How the runner is."""

    type: Literal["memory"] = "memory"
    pss_mib: int


class Worn(_Message):
    """The runner wants to be replaced: something in it does not answer any more."""

    type: Literal["worn"] = "worn"
    why: str


class Lost(_Message):
    """The browser or its driver is gone; the runner ends."""

    type: Literal["lost"] = "lost"
    what: str


FromRunner = Annotated[
    Hello | Ready | Unable | Started | Stepped | Done | Memory | Worn | Lost, Field(discriminator="type")
]
FROM_RUNNER: Final[TypeAdapter[Hello | Ready | Unable | Started | Stepped | Done | Memory | Worn | Lost]] = TypeAdapter(
    FromRunner
)


def encode(message: BaseModel) -> bytes:
    """A message as its line."""
    return message.model_dump_json().encode() + b"\n"


def decode_from_runner(line: bytes) -> Any:
    """The runner's message; `ValueError` where it is none."""
    return FROM_RUNNER.validate_json(line)
