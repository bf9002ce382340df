"""A live session: its two logs over a real connection."""

import asyncio
import json

import pytest

from cloudsync.log import WINDOW_ENTRIES
from cloudsync.messages import Ack, Commands, LostEvent, Pulse, Settled, encode_entry, encode_events
from hub import roster
from hub.session import CLOSE_STORE, CLOSE_SUPERSEDED
from tests.unit.hub.http import Http
from tests.unit.hub.peer import BOX_NOW_MS, event, outcome, some_id
from tests.unit.hub.running import RunningHub, bash, look, make

VIOLATION = 1002


async def test_task_goes_to_a_box_in_session_and_its_outcome_comes_back(hub: RunningHub, http: Http) -> None:
    box = await hub.box()
    await box.connect()
    task_id = await make(http, box.box_id, "echo hi")
    (command,) = await box.commands(1)
    assert command["task_id"] == task_id
    assert command["spec"]["command"] == "echo hi"
    assert 86_390 < command["remaining_s"] <= 86_400
    assert (await look(http, task_id))["delivery"] == "sent"
    await box.finish(task_id, outcome(0, b"hi\n"))
    task = await look(http, task_id)
    assert (task["state"], task["exit_code"], task["stdout"], task["delivery"]) == ("succeeded", 0, "hi\n", "confirmed")


async def test_waiting_tasks_come_in_order_when_the_box_comes_window_by_window(hub: RunningHub, http: Http) -> None:
    box = await hub.box()
    count = WINDOW_ENTRIES + 44
    made = [await make(http, box.box_id, f"echo {number}") for number in range(count)]
    assert (await look(http, made[0]))["delivery"] == "unsent"
    await box.connect()
    first = await box.commands(WINDOW_ENTRIES)
    later = await make(http, box.box_id, "echo later")
    await box.beat()
    assert (await look(http, made[-1]))["delivery"] == "unsent"
    await box.say(Ack(seq=100))
    second = await box.commands(45)
    assert [entry["task_id"] for entry in (*first, *second)] == [*made, later]


async def test_many_callers_at_once_never_exceed_the_window(hub: RunningHub, http: Http) -> None:
    box = await hub.box()
    await box.connect()
    await asyncio.gather(*(make(http, box.box_id) for _ in range(WINDOW_ENTRIES + 30)))
    assert hub.rows("SELECT count(*) AS n FROM tasks WHERE delivery = 'sent'")[0]["n"] == WINDOW_ENTRIES
    entries = await box.commands(WINDOW_ENTRIES)
    order = [row["id"] for row in hub.rows("SELECT id FROM tasks ORDER BY n")]
    await box.say(Ack(seq=box.command_seq))
    entries += await box.commands(30)
    assert [entry["task_id"] for entry in entries] == order


async def test_unacked_commands_come_again_on_the_next_connection(hub: RunningHub, http: Http) -> None:
    box = await hub.box()
    await box.connect()
    made = [await make(http, box.box_id) for _ in range(3)]
    await box.commands(3)
    await box.cut()
    box.command_seq = 1  # what the journal holds: one was committed
    await box.connect()
    assert [entry["task_id"] for entry in await box.commands(2)] == made[1:]
    assert (await look(http, made[0]))["delivery"] == "confirmed"


async def test_cancel_of_a_sent_task_follows_its_run(hub: RunningHub, http: Http) -> None:
    box = await hub.box()
    await box.connect()
    task_id = await make(http, box.box_id)
    answer = await http.post(f"/api/v1/tasks/{task_id}/cancel")
    assert (answer.status, answer.json()["state"]) == (200, "queued")
    run, cancel = await box.commands(2)
    assert (run["type"], cancel["type"], cancel["task_id"]) == ("run", "cancel", task_id)
    await box.report(event(task_id, "cancelled", outcome(None)), ack=2)
    assert (await look(http, task_id))["state"] == "cancelled"


async def test_cancel_while_the_box_is_away_reaches_it_later(hub: RunningHub, http: Http) -> None:
    box = await hub.box()
    await box.connect()
    task_id = await make(http, box.box_id)
    await box.commands(1)
    await box.say(Ack(seq=1))
    await box.beat()
    await box.cut()
    await http.post(f"/api/v1/tasks/{task_id}/cancel")
    await box.connect()
    assert (await box.commands(1))[0]["type"] == "cancel"


async def test_events_sent_again_after_a_cut_are_stored_once(hub: RunningHub, http: Http) -> None:
    box = await hub.box()
    await box.connect()
    task_id = await make(http, box.box_id)
    await box.commands(1)
    entries = (event(task_id, "running"), event(task_id, "succeeded", outcome(0)))
    await box.report(*entries, ack=1)
    await box.say(encode_events(1, entries, 1))
    assert (await box.hear(Ack)).seq == 2
    more = event(some_id(), "running")
    await box.say(encode_events(2, [entries[1], more], None))
    assert (await box.hear(Ack)).seq == 3
    assert [row["seq"] for row in hub.rows("SELECT seq FROM events ORDER BY n")] == [1, 2, 3]


async def test_events_on_their_way_into_the_store_when_the_link_dies_are_kept(hub: RunningHub, http: Http) -> None:
    box = await hub.box()
    await box.connect()
    task_id = await make(http, box.box_id)
    await box.commands(1)
    for _ in range(20):
        await box.report(event(task_id, "running"), wait=False)
    await box.report(event(task_id, "succeeded", outcome(0)), wait=False)
    await box.cut()
    welcome = await box.connect()
    missing = box.event_seq - welcome.event_seq
    assert [row["seq"] for row in hub.rows("SELECT seq FROM events ORDER BY seq")] == [*range(1, welcome.event_seq + 1)]
    box.event_seq -= missing
    if missing:
        await box.report(*[event(task_id, "succeeded", outcome(0))] * missing)
    assert (await look(http, task_id))["state"] == "succeeded"


async def test_gap_in_the_events_ends_the_connection_and_stores_nothing(hub: RunningHub) -> None:
    box = await hub.box()
    await box.connect()
    await box.say(encode_events(3, [event("x", "running")], None))
    code, reason = await box.closed()
    assert code == VIOLATION
    assert "gap" in reason
    assert hub.rows("SELECT 1 FROM events") == []


BROKEN_FRAMES: list[str | bytes] = [
    "not json",
    "[]",
    "null",
    '{"type":"teapot"}',
    '{"type":"ack","seq":-1}',
    '{"type":"ack","seq":7}',
    '{"type":"events","from_seq":1,"entries":[]}',
    '{"type":"events","from_seq":1,"entries":["x"],"ack":9}',
    '{"type":"events","from_seq":0,"entries":["x"]}',
    '{"type":"hello"}',
    '{"type":"settled","session":1}',
    "[" * 100_000,
    b"binary",
]


async def test_frame_that_breaks_the_protocol_ends_only_that_connection(hub: RunningHub) -> None:
    box = await hub.box()
    for frame in BROKEN_FRAMES:
        await box.connect()
        await box.say(frame)
        assert (frame, (await box.closed())[0]) == (frame, VIOLATION)
    await box.connect()


async def test_frame_over_the_limit_ends_the_connection(hub: RunningHub) -> None:
    box = await hub.box()
    await box.connect()
    await box.say(json.dumps({"type": "pulse", "now_ms": 1, "health": {"x": "y" * 1_100_000}}))
    assert (await box.closed())[0] == 1009
    await box.connect()


ODD_ENTRIES = [
    "1",
    '"text"',
    "[]",
    '{"type":"telemetry"}',
    '{"type":"task","id":"e","task_id":"t","state":"flying","at_ms":1}',
    '{"type":"task","id":"e","task_id":"t","state":"running","at_ms":99999999999999999999}',
    '{"type":"task","id":"e","task_id":"t","state":"failed","at_ms":1,"outcome":{"exit_code":99999999999999999999}}',
    '{"type":"lost","id":"e","at_ms":1,"from_seq":1,"to_seq":0,"why":"?"}',
    '{"x":NaN,"y":1e400}',
    '{"deep":' + "[" * 150 + "]" * 150 + "}",
]


async def test_entry_that_makes_no_sense_is_ledgered_and_acked(hub: RunningHub, http: Http) -> None:
    box = await hub.box()
    await box.connect()
    for number, entry in enumerate(ODD_ENTRIES):
        await box.report(entry.replace('"id":"e"', f'"id":"e{number}"'))
    await box.report(event(some_id(), "running"))
    seqs = [row["seq"] for row in hub.rows("SELECT seq FROM events ORDER BY n")]
    assert seqs == [*range(1, len(ODD_ENTRIES) + 2)]
    async with http.events("/api/v1/events?after=0") as events:
        shown = [(await events.next()) for _ in seqs]
    assert [entry.data["seq"] for entry in shown if entry] == seqs


async def test_lost_range_counts_as_had(hub: RunningHub) -> None:
    box = await hub.box()
    await box.connect()
    await box.say(encode_events(1, [encode_entry(lost(1, 40))], None))
    box.event_seq = 40
    await box.acked()
    await box.report(event(some_id(), "running"))
    assert [(row["seq"], row["type"]) for row in hub.rows("SELECT * FROM events")] == [(1, "lost"), (41, "task")]


def lost(first: int, last: int) -> LostEvent:
    return LostEvent(id=some_id(), at_ms=BOX_NOW_MS, from_seq=first, to_seq=last, why="disk full")


async def test_session_whose_fence_is_lost_is_closed_and_writes_nothing(hub: RunningHub) -> None:
    box = await hub.box()
    await box.connect()
    await hub.job(lambda c: c.execute("UPDATE boxes SET fence = 99").rowcount)
    await box.report(event(some_id(), "running"), wait=False)
    assert (await box.closed())[0] == CLOSE_SUPERSEDED
    assert hub.rows("SELECT 1 FROM events") == []


async def test_pulse_keeps_a_box_connected_and_says_how_it_is(hub: RunningHub, http: Http) -> None:
    box = await hub.box()
    await box.connect()
    await box.say(Pulse(now_ms=1, health={"load": 0.25}, inventory={"os": "debian"}))
    await box.hear(Pulse)
    await hub.settle()
    shown = (await http.get(f"/api/v1/boxes/{box.box_id}")).json()
    assert (shown["status"], shown["health"], shown["inventory"]) == ("connected", {"load": 0.25}, {"os": "debian"})


async def test_number_that_json_cannot_write_is_shown_as_null(hub: RunningHub, http: Http) -> None:
    box = await hub.box()
    await box.connect()
    await box.say('{"type":"pulse","now_ms":1,"health":{"load":NaN},"inventory":{"disk":1e400}}')
    await box.hear(Pulse)
    await hub.settle()
    answer = await http.get(f"/api/v1/boxes/{box.box_id}")
    assert b"NaN" not in answer.body
    assert b"Infinity" not in answer.body
    assert answer.json()["health"] == {"load": None}


async def test_caller_who_leaves_at_once_does_not_keep_its_task_from_the_box(hub: RunningHub) -> None:
    box = await hub.box()
    await box.connect()
    reader, writer = await asyncio.open_connection(*hub.web)
    body = json.dumps(bash()).encode()
    head = f"POST /api/v1/boxes/{box.box_id}/tasks?wait_s=60 HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    writer.write(f"{head}Authorization: Bearer {await hub.key()}\r\n\r\n".encode() + body)
    await writer.drain()
    writer.transport.abort()
    del reader
    assert len(await box.commands(1)) == 1


async def test_large_tasks_are_split_over_frames(hub: RunningHub, http: Http) -> None:
    box = await hub.box()
    for _ in range(6):
        await make(http, box.box_id, "#" + "x" * 200_000)
    await box.connect()
    sizes: list[int] = []
    while sum(sizes) < 6:
        sizes.append(len((await box.hear(Commands)).entries))
    assert max(sizes) <= 4


async def test_box_that_was_settled_twice_is_told_and_cut(hub: RunningHub) -> None:
    box = await hub.box()
    await box.connect()
    await box.say(Settled(session=1))
    assert (await box.closed())[0] == VIOLATION


async def test_time_last_heard_is_kept_when_the_session_ends(hub: RunningHub, http: Http) -> None:
    box = await hub.box()
    assert (await http.get("/api/v1/boxes/box-1")).json()["status"] == "never"
    await box.connect()
    await box.cut()
    while (shown := (await http.get("/api/v1/boxes/box-1")).json())["status"] == "connected":
        pass
    assert shown["status"] == "stale"
    assert shown["last_seen_at"]


async def test_session_whose_commands_cannot_be_read_is_closed_and_the_next_gets_them(
    hub: RunningHub, http: Http, caplog: pytest.LogCaptureFixture
) -> None:
    box = await hub.box()
    task_id = await make(http, box.box_id)
    await box.connect()
    await box.commands(1)
    await box.cut()
    box.command_seq = 0
    await hub.job(lambda c: c.execute("ALTER TABLE commands RENAME COLUMN made_by TO made"))
    await box.begin()
    assert (await box.closed())[0] == CLOSE_STORE
    assert "commands not read, session closed: box=box-1" in caplog.text
    caplog.clear()
    await hub.job(lambda c: c.execute("ALTER TABLE commands RENAME COLUMN made TO made_by"))
    await box.begin()
    assert (await box.commands(1))[0]["task_id"] == task_id


async def test_session_of_a_released_fence_can_be_judged_without_a_connection(hub: RunningHub) -> None:
    box = await hub.box()
    await box.connect()
    assert await hub.job(lambda c: roster.settle(c, box.box_id, 99)) is False
