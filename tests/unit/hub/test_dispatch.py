"""The switchboard: who is told, and what goes on when a caller leaves."""

import asyncio
from contextlib import suppress

import pytest

from cloudsync.spec import BashExec, encode_spec
from hub import dispatch as dispatch_module, relay as relay_module
from hub.dispatch import new_id, now_ms
from hub.ledger import NewTask
from hub.session import Session
from tests.unit.hub.http import Http
from tests.unit.hub.peer import event, outcome
from tests.unit.hub.running import RunningHub, look, make


def new_task(box_id: str = "box-1") -> NewTask:
    spec = encode_spec(BashExec(kind="bash.exec", command="true"))
    now = now_ms()
    return NewTask(new_id(), None, box_id, "bash.exec", spec, "me", now, now + 60_000)


async def test_task_whose_caller_left_while_it_was_committed_is_sent_all_the_same(hub: RunningHub) -> None:
    box = await hub.box()
    await box.connect()
    task = new_task()
    submitting = asyncio.create_task(hub.dispatch.submit(task))
    await asyncio.sleep(0)
    submitting.cancel()
    with suppress(asyncio.CancelledError):
        await submitting
    assert (await box.commands(1))[0]["task_id"] == task.id


async def test_cancel_whose_caller_left_is_sent_all_the_same(hub: RunningHub, http: Http) -> None:
    box = await hub.box()
    await box.connect()
    task_id = await make(http, "box-1")
    await box.commands(1)
    cancelling = asyncio.create_task(hub.dispatch.cancel(task_id, None, "me"))
    await asyncio.sleep(0)
    cancelling.cancel()
    assert (await box.commands(1))[0]["type"] == "cancel"


async def test_all_who_wait_are_told_and_those_who_leave_are_forgotten(hub: RunningHub, http: Http) -> None:
    box = await hub.box()
    await box.connect()
    task_id = await make(http, "box-1")
    await box.commands(1)
    waiters = [hub.dispatch.expect(task_id) for _ in range(3)]
    impatient = asyncio.create_task(hub.dispatch.wait(task_id, waiters[0], 60))
    await asyncio.sleep(0)
    impatient.cancel()
    others = [asyncio.create_task(hub.dispatch.wait(task_id, waiter, 60)) for waiter in waiters[1:]]
    await box.finish(task_id)
    rows = await asyncio.gather(*others)
    assert [row and row["state"] for row in rows] == ["succeeded", "succeeded"]
    assert hub.dispatch._waiters == {}
    assert await hub.dispatch.wait(task_id, hub.dispatch.expect(task_id), 0.01) is None


async def test_sweep_expires_what_is_overdue_and_looks_after_rights(
    hub: RunningHub, http: Http, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch_module, "SWEEP_S", 0.01)
    await hub.box()
    looked = asyncio.Event()
    sweeping = asyncio.create_task(hub.dispatch.sweep(looked.set))
    answer = await http.post(
        "/api/v1/boxes/box-1/tasks?wait_s=20", {"kind": "bash.exec", "command": "x", "deliver_within_s": 0.05}
    )
    assert (answer.status, answer.json()["state"]) == (200, "expired")
    await looked.wait()
    sweeping.cancel()


async def test_box_that_is_not_heard_is_cut_off(hub: RunningHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "SWEEP_S", 0.01)
    box, silent = await hub.box(), await hub.box("silent")
    await box.connect()
    await silent.connect()
    for session in hub.dispatch.sessions.values():
        # What a correction of the wall clock does to all, and silence to one.
        session.heard_at_ms -= 3_600_000
        if isinstance(session, Session) and session.box_id == "silent":
            session.heard_boot_s -= relay_module.DEAD_AFTER_S + 1
    sweeping = asyncio.create_task(hub.relay.sweep())
    assert (await silent.closed())[0] == 1006
    await box.beat()
    assert box.box_id in hub.dispatch.sessions
    sweeping.cancel()
    await silent.connect()


async def test_events_go_to_their_customers_subscribers_alone(hub: RunningHub, http: Http) -> None:
    await hub.customer("other")
    mine, theirs = await hub.box(), await hub.box("box-2", "other")
    await mine.connect()
    await theirs.connect()
    ids = {row["name"]: row["id"] for row in hub.rows("SELECT id, name FROM customers")}
    subscribers = {name: hub.dispatch.subscribe(customer_id) for name, customer_id in (*ids.items(), ("all", None))}
    await mine.report(event("m", "running"))
    await theirs.report(event("t", "running"))
    seen = {name: [entry["task_id"] for entry in one.entries] for name, one in subscribers.items()}
    assert seen == {"acme": ["m"], "other": ["t"], "all": ["m", "t"]}
    for one in subscribers.values():
        hub.dispatch.unsubscribe(one)


async def test_final_state_is_told_once_whichever_way_it_comes(hub: RunningHub, http: Http) -> None:
    box = await hub.box()
    await box.connect()
    task_id = await make(http, "box-1")
    await box.commands(1)
    await box.report(event(task_id, "succeeded", outcome(0)), ack=1)
    await box.report(event(task_id, "failed", outcome(1)))
    assert (await look(http, task_id))["state"] == "succeeded"
    assert hub.dispatch.ended == {"succeeded": 1}
