"""The messages between a box and its hub: one JSON object a text frame, told apart by `type`.

Entries of the two logs travel in batches (`commands` down, `events` up). An entry carries no seq of its own: the
first has the batch's `from_seq`, each next one more. Entries are read one by one after the frame, so that one that is
not understood is flagged and acked instead of stalling its log.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from cloudsync.complaint import complaints
from cloudsync.errors import EntryTooLarge, FrameTooLarge, ProtocolViolation
from cloudsync.spec import Outcome
from cloudsync.task import Origin, TaskState

PROTOCOL: Final = 1
SUBPROTOCOL: Final = "cloudsync.v1"
FRAME_LIMIT_BYTES: Final = 1024 * 1024
ENTRY_LIMIT_BYTES: Final = 256 * 1024
# A batch leaves room in its frame for one more entry of full size, so that a batch can always be closed in time.
BATCH_LIMIT_BYTES: Final = FRAME_LIMIT_BYTES - ENTRY_LIMIT_BYTES
BATCH_LIMIT_ENTRIES: Final = 256


# What SQLite stores in an INTEGER: a larger number from a peer is refused here, before it can fail a transaction.
Number = Annotated[int, Field(ge=0, le=2**63 - 1)]
FromSeq = Annotated[int, Field(ge=1, le=2**63 - 1)]


class Message(BaseModel):
    """Base of all: unknown fields are ignored, so that a newer peer can say more."""

    model_config = ConfigDict(frozen=True, extra="ignore")


# Handshake


class Challenge(Message):
    """Hub to box, first frame: prove that you hold the key."""

    type: Literal["challenge"] = "challenge"
    nonce: str
    hub: str
    protocol: int = PROTOCOL


class Hello(Message):
    """Box to hub: who it is and where its two logs stand. `signature` covers nonce, hub name and the rest."""

    # Kept, not ignored: what a newer box says more is under its signature too.
    model_config = ConfigDict(extra="allow")

    type: Literal["hello"] = "hello"
    box_id: str
    protocol: int = PROTOCOL
    incarnation: str
    session: Number
    """The box's own counter, committed before this was sent: the fence."""
    last: Number
    """The newest session whose welcome the box has committed."""
    command_seq: Number
    """The newest command that its journal holds."""
    event_seq: Number
    """The newest event that its journal has ever held."""
    acked_event_seq: Number = 0
    """The newest event that a hub has acked to it."""
    desired: str = ""
    boot_id: str = ""
    hwid: str = ""
    now_ms: Number = 0
    inventory: dict[str, Any] | None = None
    signature: str = ""


class Welcome(Message):
    """Hub to box: the session is yours; send events from `event_seq` + 1."""

    type: Literal["welcome"] = "welcome"
    session: Number
    event_seq: Number
    event_id: str | None = None
    """The id of the event that the ledger has at `event_seq`: another than the box's own means it was rolled back."""
    desired: dict[str, Any] | None = None
    token: str = ""


class Settled(Message):
    """Box to hub: the welcome is committed; the session is live."""

    type: Literal["settled"] = "settled"
    session: Number


class Stale(Message):
    """Hub to box: a newer session exists; come again above `fence`."""

    type: Literal["stale"] = "stale"
    fence: Number


class Denied(Message):
    """Hub to box: no session. `code` says whether it is refused for good, quarantined, or must begin anew."""

    type: Literal["denied"] = "denied"
    code: Literal["revoked", "unknown_box", "bad_signature", "protocol", "quarantined", "begin_anew"]
    message: str
    hint: str = ""


class RolledBack(Message):
    """Box to hub: the ledger holds another event at my seq, so my journal is an older copy."""

    type: Literal["rolled_back"] = "rolled_back"
    event_seq: Number
    event_id: str | None = None
    """The box's own id at that seq, where it holds one."""


# The two logs


class Commands(Message):
    """Hub to box: entries `from_seq`… of the command log."""

    type: Literal["commands"] = "commands"
    from_seq: FromSeq
    entries: list[Any]


class Events(Message):
    """Box to hub: entries `from_seq`… of the event log; `ack` acks commands on the way."""

    type: Literal["events"] = "events"
    from_seq: FromSeq
    entries: list[Any]
    ack: Number | None = None


class Ack(Message):
    """Both ways: everything up to `seq` of your log is committed here."""

    type: Literal["ack"] = "ack"
    seq: Number


class Bye(Message):
    """Hub to box: going away; come back after `retry_after_s`."""

    type: Literal["bye"] = "bye"
    retry_after_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    reason: str = ""


class Desired(Message):
    """Hub to box: the desired state, whole."""

    type: Literal["desired"] = "desired"
    document: dict[str, Any]


# Best effort


class Follow(Message):
    """Hub to box: someone watches this task; send its output from these offsets on."""

    type: Literal["follow"] = "follow"
    task_id: str
    stdout: Number = 0
    stderr: Number = 0
    steps: bool = False
    """Whether this hub takes `step` too."""


class Unfollow(Message):
    """Hub to box: nobody watches this task any more."""

    type: Literal["unfollow"] = "unfollow"
    task_id: str


Stream = Literal["stdout", "stderr"]


class OutputChunk(Message):
    """Box to hub: a piece of a running task's output."""

    type: Literal["output"] = "output"
    task_id: str
    stream: Stream
    offset: Number
    data_b64: str


class OutputGap(Message):
    """Box to hub: these bytes were dropped and will not come as live output."""

    type: Literal["gap"] = "gap"
    task_id: str
    stream: Stream
    from_offset: Number
    to_offset: Number


class StepReport(Message):
    """Box to hub: step `index` (from 1) of the `total` of a running browser task has ended."""

    type: Literal["step"] = "step"
    task_id: str
    index: Number
    total: Number
    action: str
    name: str = ""
    state: str
    duration_ms: Number


class Pulse(Message):
    """Both ways: alive. The box says how it is, the hub answers with its clock."""

    type: Literal["pulse"] = "pulse"
    now_ms: Number
    health: dict[str, Any] | None = None
    inventory: dict[str, Any] | None = None


FromHub = Annotated[
    Challenge | Welcome | Stale | Denied | Commands | Ack | Bye | Desired | Follow | Unfollow | Pulse,
    Field(discriminator="type"),
]
FromBox = Annotated[
    Hello | Settled | RolledBack | Events | Ack | OutputChunk | OutputGap | StepReport | Pulse,
    Field(discriminator="type"),
]
FROM_HUB: Final[TypeAdapter[FromHub]] = TypeAdapter(FromHub)
FROM_BOX: Final[TypeAdapter[FromBox]] = TypeAdapter(FromBox)


# Entries


class Run(Message):
    """Command: run this task, if it reaches you within `deliver_within_s` of being sent."""

    type: Literal["run"] = "run"
    task_id: str
    spec: dict[str, Any]
    created_by: str = ""
    created_at_ms: Number = 0
    remaining_s: float


class Cancel(Message):
    """Command: end this task, whatever it is doing."""

    type: Literal["cancel"] = "cancel"
    task_id: str
    by: str = ""


class LocalTask(Message):
    """What the hub must know of a task that was made on the box; it rides on the task's first event."""

    spec: dict[str, Any]
    origin: Origin
    created_by: str = ""
    created_at_ms: Number


class TaskEvent(Message):
    """Event: a task moved to `state` at `at_ms` of the box's clock."""

    type: Literal["task"] = "task"
    id: str
    task_id: str
    state: TaskState
    at_ms: Number
    attempt: Number = 0
    boot_id: str = ""
    outcome: Outcome | None = None
    made_here: LocalTask | None = None


class LostEvent(Message):
    """Event: the events `from_seq` to `to_seq` are no longer held, and why."""

    type: Literal["lost"] = "lost"
    id: str
    at_ms: Number
    from_seq: Number
    to_seq: Number
    why: str


class FlaggedEvent(Message):
    """Event: a command that this box does not understand; it was acked and did nothing."""

    type: Literal["flagged"] = "flagged"
    id: str
    at_ms: Number
    command_seq: Number
    message: str


class ArtifactEvent(Message):
    """Event: the box gave up an artifact before the hub had it, and why."""

    type: Literal["artifact"] = "artifact"
    id: str
    at_ms: Number
    artifact_id: str
    task_id: str
    state: Literal["lost"] = "lost"
    why: str


Command = Annotated[Run | Cancel, Field(discriminator="type")]
Event = Annotated[TaskEvent | LostEvent | FlaggedEvent | ArtifactEvent, Field(discriminator="type")]
COMMAND: Final[TypeAdapter[Command]] = TypeAdapter(Command)
EVENT: Final[TypeAdapter[Event]] = TypeAdapter(Event)


def decode_from_hub(text: str) -> FromHub:
    """Read a frame from the hub; `ProtocolViolation` names what is wrong with it."""
    try:
        return FROM_HUB.validate_json(text)
    except ValidationError as error:
        raise ProtocolViolation(describe(error)) from error


def decode_from_box(text: str) -> FromBox:
    """Read a frame from a box; `ProtocolViolation` names what is wrong with it."""
    try:
        return FROM_BOX.validate_json(text)
    except ValidationError as error:
        raise ProtocolViolation(describe(error)) from error


def _size_bytes(text: str) -> int:
    # Most is ASCII, for which no copy is made.
    return len(text) if text.isascii() else len(text.encode())


def encode(message: Message) -> str:
    """The frame of a message; `FrameTooLarge` where it would not pass."""
    text = message.model_dump_json(exclude_none=True)
    size = _size_bytes(text)
    if size > FRAME_LIMIT_BYTES:
        raise FrameTooLarge(f"a {message.__class__.__name__} of {size} bytes, {FRAME_LIMIT_BYTES} are allowed")
    return text


def encode_entry(entry: Message) -> str:
    """An entry as it is journaled; `EntryTooLarge` where its encoding is over the limit."""
    text = entry.model_dump_json(exclude_none=True)
    size = _size_bytes(text)
    if size > ENTRY_LIMIT_BYTES:
        raise EntryTooLarge(size, ENTRY_LIMIT_BYTES)
    return text


def encode_commands(from_seq: int, entries: Sequence[str]) -> str:
    """A `commands` frame around entries that are encoded already."""
    return f'{{"type":"commands","from_seq":{from_seq},"entries":[{",".join(entries)}]}}'


def encode_events(from_seq: int, entries: Sequence[str], ack: int | None) -> str:
    """An `events` frame around entries that are encoded already."""
    tail = "" if ack is None else f',"ack":{ack}'
    return f'{{"type":"events","from_seq":{from_seq},"entries":[{",".join(entries)}]{tail}}}'


def batch_size(sizes_bytes: Sequence[int]) -> int:
    """How many of the entries with these encoded sizes go into one frame: at least one, where there is one."""
    total = 0
    for count, size in enumerate(sizes_bytes):
        total += size + 1
        if count and (total > BATCH_LIMIT_BYTES or count >= BATCH_LIMIT_ENTRIES):
            return count
    return len(sizes_bytes)


def describe(error: ValidationError, limit: int = 3) -> str:
    """What pydantic found wrong, a clause a field, without the values (they may be secret)."""
    clauses = [str(complaint) for complaint in complaints(error, limit)]
    more = error.error_count() - limit
    return "; ".join(clauses) + (f"; and {more} more" if more > 0 else "")
