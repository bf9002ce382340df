"""The frames and entries on the wire: what is read, what is refused, and where the limits are, to the byte."""

import json
from typing import Any, get_args

import pytest
from hypothesis import given, strategies as st
from pydantic import TypeAdapter, ValidationError

from cloudsync import messages
from cloudsync.errors import EntryTooLarge, FrameTooLarge, ProtocolViolation
from cloudsync.messages import (
    BATCH_LIMIT_BYTES,
    BATCH_LIMIT_ENTRIES,
    COMMAND,
    ENTRY_LIMIT_BYTES,
    EVENT,
    FRAME_LIMIT_BYTES,
    Message,
    batch_size,
    decode_from_box,
    decode_from_hub,
    encode,
    encode_commands,
    encode_entry,
    encode_events,
)
from cloudsync.spec import Outcome, Output
from cloudsync.task import Origin, TaskState

FROM_HUB: list[Message] = [
    messages.Challenge(nonce="n", hub="h"),
    messages.Welcome(session=1, event_seq=2, event_id="e", desired={"a": None}, token="t"),
    messages.Stale(fence=3),
    messages.Denied(code="quarantined", message="m", hint="h"),
    messages.Commands(from_seq=1, entries=[{"type": "cancel", "task_id": "t"}]),
    messages.Ack(seq=0),
    messages.Bye(retry_after_s=1.5, reason="r"),
    messages.Desired(document={"schedules": []}),
    messages.Follow(task_id="t", stdout=1, stderr=2),
    messages.Unfollow(task_id="t"),
    messages.Pulse(now_ms=1),
]
FROM_BOX: list[Message] = [
    messages.Hello(box_id="b", incarnation="i", session=1, last=0, command_seq=0, event_seq=0, inventory={"cpu": 2}),
    messages.Settled(session=1),
    messages.RolledBack(event_seq=1, event_id=None),
    messages.Events(from_seq=1, entries=[], ack=4),
    messages.Ack(seq=2**63 - 1),
    messages.OutputChunk(task_id="t", stream="stdout", offset=0, data_b64="eA=="),
    messages.OutputGap(task_id="t", stream="stderr", from_offset=1, to_offset=2),
    messages.StepReport(task_id="t", index=1, total=2, action="goto", state="succeeded", duration_ms=240),
    messages.Pulse(now_ms=1, health={"load": 0.5}, inventory={"cpu": 2}),
]
ENTRIES: list[tuple[TypeAdapter[Any], Message]] = [
    (COMMAND, messages.Run(task_id="t", spec={"kind": "x", "cwd": None}, remaining_s=1.5)),
    (COMMAND, messages.Cancel(task_id="t", by="k")),
    (
        EVENT,
        messages.TaskEvent(
            id="e",
            task_id="t",
            state=TaskState.SUCCEEDED,
            at_ms=1,
            outcome=Outcome(exit_code=0, stdout=Output.of(b"\xff")),
            made_here=messages.LocalTask(spec={}, origin=Origin.LOCAL, created_at_ms=1),
        ),
    ),
    (EVENT, messages.LostEvent(id="e", at_ms=1, from_seq=2, to_seq=3, why="w")),
    (EVENT, messages.FlaggedEvent(id="e", at_ms=1, command_seq=2, message="m")),
    (EVENT, messages.ArtifactEvent(id="e", at_ms=1, artifact_id="a", task_id="t", why="w")),
]


def members(union: Any) -> set[type[Message]]:
    """The messages of a union."""
    return set(get_args(get_args(union)[0]))


def test_each_message_is_among_the_examples() -> None:
    assert {type(each) for each in FROM_HUB} == members(messages.FromHub)
    assert {type(each) for each in FROM_BOX} == members(messages.FromBox)
    assert {type(each) for _, each in ENTRIES} == members(messages.Command) | members(messages.Event)


@pytest.mark.parametrize("message", FROM_HUB, ids=lambda message: message.type)
def test_a_box_reads_what_a_hub_sends(message: Message) -> None:
    assert decode_from_hub(encode(message)) == message


@pytest.mark.parametrize("message", FROM_BOX, ids=lambda message: message.type)
def test_a_hub_reads_what_a_box_sends(message: Message) -> None:
    assert decode_from_box(encode(message)) == message


@pytest.mark.parametrize("message", FROM_HUB, ids=lambda message: message.type)
def test_a_hub_takes_nothing_that_only_a_hub_sends(message: Message) -> None:
    if type(message) not in members(messages.FromBox):
        with pytest.raises(ProtocolViolation, match="expected tags"):
            decode_from_box(encode(message))


@pytest.mark.parametrize("message", FROM_BOX, ids=lambda message: message.type)
def test_a_box_takes_nothing_that_only_a_box_sends(message: Message) -> None:
    if type(message) not in members(messages.FromHub):
        with pytest.raises(ProtocolViolation, match="expected tags"):
            decode_from_hub(encode(message))


@pytest.mark.parametrize("message", [*FROM_HUB, *FROM_BOX], ids=lambda message: message.type)
def test_a_field_that_only_a_newer_peer_knows_is_ignored(message: Message) -> None:
    decode = decode_from_hub if message in FROM_HUB else decode_from_box
    newer = decode(json.dumps(json.loads(encode(message)) | {"newer": {"than": "ours"}}))
    known = newer.model_dump(include=set(type(message).model_fields))
    assert known == message.model_dump()


@pytest.mark.parametrize(("adapter", "entry"), ENTRIES, ids=lambda value: getattr(value, "type", ""))
def test_an_entry_reads_back_as_it_was_and_ignores_what_is_newer(adapter: TypeAdapter[Any], entry: Message) -> None:
    encoded = encode_entry(entry)
    assert adapter.validate_json(encoded) == entry
    assert adapter.validate_python(json.loads(encoded) | {"newer": 1}) == entry


@pytest.mark.parametrize(
    "frame",
    [
        "",
        " ",
        "x",
        "{",
        "[]",
        "1",
        '"hello"',
        "null",
        "{}",
        '{"type":null}',
        '{"type":1}',
        '{"type":"CUT"}',
        '{"type":"ack"}',
    ],
)
def test_what_is_no_message_is_a_violation_for_both(frame: str) -> None:
    for decode in (decode_from_box, decode_from_hub):
        with pytest.raises(ProtocolViolation):
            decode(frame)


@pytest.mark.parametrize("frame", ['{"type":"bye","reason":"\\ud800"}', '{"type":"bye","reason":"\ud800"}'])
def test_a_lone_surrogate_is_a_violation(frame: str) -> None:
    with pytest.raises(ProtocolViolation):
        decode_from_hub(frame)


@pytest.mark.parametrize("depth", [100, 300, 100_000])
def test_deep_nesting_is_read_or_a_violation_and_never_a_crash(depth: int) -> None:
    frame = f'{{"type":"events","from_seq":1,"entries":[{"[" * depth}{"]" * depth}]}}'
    try:
        decode_from_box(frame)
    except ProtocolViolation:
        assert depth > 100


@pytest.mark.parametrize("number", ["-1", "9223372036854775808", "1e400", "1.5", "NaN", '"x"', "null", "[1]"])
@pytest.mark.parametrize(
    "frame",
    [
        '{"type":"ack","seq":%s}',
        '{"type":"events","entries":[],"from_seq":%s}',
        '{"type":"settled","session":%s}',
        '{"type":"pulse","now_ms":%s}',
        '{"type":"hello","box_id":"b","incarnation":"i","last":0,"command_seq":0,"event_seq":0,"session":%s}',
        '{"type":"hello","box_id":"b","incarnation":"i","session":1,"last":0,"event_seq":0,"command_seq":%s}',
    ],
)
def test_a_number_that_no_database_holds_is_a_violation(frame: str, number: str) -> None:
    with pytest.raises(ProtocolViolation):
        decode_from_box(frame % number)


@pytest.mark.parametrize("first", [0, -1])
@pytest.mark.parametrize("batch", ["events", "commands"])
def test_a_log_starts_at_1(batch: str, first: int) -> None:
    decode = decode_from_box if batch == "events" else decode_from_hub
    with pytest.raises(ProtocolViolation, match="from_seq"):
        decode(json.dumps({"type": batch, "from_seq": first, "entries": []}))


@pytest.mark.parametrize("seconds", ["-1", "NaN", "Infinity", "1e400"])
def test_a_hub_asks_for_a_time_that_can_be_waited(seconds: str) -> None:
    with pytest.raises(ProtocolViolation, match="retry_after_s"):
        decode_from_hub(f'{{"type":"bye","retry_after_s":{seconds}}}')


def test_an_entry_that_is_not_understood_does_not_fail_its_batch() -> None:
    strange: list[Any] = [{"type": "reboot", "at": 1}, 5, None, "x", [], {"type": "run"}]
    batch = decode_from_hub(json.dumps({"type": "commands", "from_seq": 7, "entries": strange}))
    assert isinstance(batch, messages.Commands)
    assert batch.entries == strange
    for entry in batch.entries:
        with pytest.raises(ValidationError):
            COMMAND.validate_python(entry)


def test_batches_of_encoded_entries_read_as_the_messages_that_they_are() -> None:
    entries = [encode_entry(messages.Cancel(task_id=f"ä{number}")) for number in range(3)]
    parsed = [json.loads(entry) for entry in entries]
    assert decode_from_hub(encode_commands(5, entries)) == messages.Commands(from_seq=5, entries=parsed)
    assert decode_from_box(encode_events(5, entries, None)) == messages.Events(from_seq=5, entries=parsed)
    assert decode_from_box(encode_events(5, entries, 9)) == messages.Events(from_seq=5, entries=parsed, ack=9)
    assert decode_from_box(encode_events(1, [], 0)) == messages.Events(from_seq=1, entries=[], ack=0)


def test_what_is_absent_is_left_out_but_a_null_inside_a_document_stays() -> None:
    assert "event_id" not in encode(messages.Welcome(session=1, event_seq=0))
    assert '"cwd":null' in encode_entry(messages.Run(task_id="t", spec={"cwd": None}, remaining_s=1))


def test_a_violation_says_what_is_wrong_and_never_the_value() -> None:
    frame = {"type": "hello", "box_id": 5, "incarnation": ["s3cret"], "session": "s3cret", "signature": {"a": "s3cret"}}
    with pytest.raises(ProtocolViolation) as raised:
        decode_from_box(json.dumps(frame))
    said = str(raised.value)
    assert "hello.session: Input should be a valid integer" in said
    assert said.endswith("and 4 more")
    assert "s3cret" not in said


@pytest.mark.parametrize("letter", ["x", "ä", "😀"])
def test_a_frame_has_at_most_its_limit_in_bytes(letter: str) -> None:
    empty = len(encode(messages.Bye(reason="")))
    room = FRAME_LIMIT_BYTES - empty
    fits = letter * (room // len(letter.encode()))
    fits += "x" * (room - len(fits.encode()))
    assert len(encode(messages.Bye(reason=fits)).encode()) == FRAME_LIMIT_BYTES
    with pytest.raises(FrameTooLarge, match=f"a Bye of {FRAME_LIMIT_BYTES + 1} bytes, {FRAME_LIMIT_BYTES} are allowed"):
        encode(messages.Bye(reason=fits + "x"))


@pytest.mark.parametrize("letter", ["x", "ä", "😀"])
def test_an_entry_has_at_most_its_limit_in_bytes(letter: str) -> None:
    room = ENTRY_LIMIT_BYTES - len(encode_entry(messages.Cancel(task_id="")))
    fits = letter * (room // len(letter.encode()))
    fits += "x" * (room - len(fits.encode()))
    assert len(encode_entry(messages.Cancel(task_id=fits)).encode()) == ENTRY_LIMIT_BYTES
    with pytest.raises(EntryTooLarge) as raised:
        encode_entry(messages.Cancel(task_id=fits + "x"))
    assert (raised.value.size_bytes, raised.value.limit_bytes) == (ENTRY_LIMIT_BYTES + 1, ENTRY_LIMIT_BYTES)


@pytest.mark.parametrize(
    ("sizes", "count"),
    [
        ([], 0),
        ([1], 1),
        ([ENTRY_LIMIT_BYTES] * 4, 2),
        ([ENTRY_LIMIT_BYTES - 1] * 4, 3),
        ([BATCH_LIMIT_BYTES], 1),
        ([BATCH_LIMIT_BYTES, 1], 1),
        ([BATCH_LIMIT_BYTES - 3, 1], 2),
        ([BATCH_LIMIT_BYTES - 2, 1], 1),
        ([1] * BATCH_LIMIT_ENTRIES, BATCH_LIMIT_ENTRIES),
        ([1] * (BATCH_LIMIT_ENTRIES + 1), BATCH_LIMIT_ENTRIES),
    ],
)
def test_a_batch_holds_what_its_frame_has_room_for_and_at_least_one(sizes: list[int], count: int) -> None:
    assert batch_size(sizes) == count


@given(st.lists(st.integers(2, ENTRY_LIMIT_BYTES), min_size=1, max_size=400))
def test_any_log_goes_out_in_frames_that_pass(sizes: list[int]) -> None:
    sent = 0
    while sent < len(sizes):
        count = batch_size(sizes[sent:])
        assert 1 <= count <= BATCH_LIMIT_ENTRIES
        frame = len(encode_events(2**63 - 1, [], 2**63 - 1)) + sum(sizes[sent : sent + count]) + count - 1
        assert frame <= FRAME_LIMIT_BYTES
        sent += count
