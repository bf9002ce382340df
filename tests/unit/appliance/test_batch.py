"""One commit in the making, into a real journal."""

import asyncio

from appliance.batch import Batch, new_event_id
from cloudsync.messages import FlaggedEvent
from tests.unit.appliance.engines import Engines


def flag(number: int) -> FlaggedEvent:
    return FlaggedEvent(id=new_event_id(), at_ms=1, command_seq=number, message="m")


async def test_what_was_asked_for_is_called_in_order_when_all_is_durable(engines: Engines) -> None:
    engine = await engines.open()
    told: list[str] = []
    engine.outbox.on_added = lambda is_final: told.append(f"added {is_final}")
    done = asyncio.Event()
    batch = Batch(engine.journal, engine.outbox)
    batch.then(lambda: told.append("first"))
    assert [batch.event(flag(n)) for n in (1, 2)] == [1, 2]
    batch.then(lambda: told.append("second"))
    batch.then(done.set)
    assert told == []
    batch.commit()
    await done.wait()
    assert told == ["added True", "first", "second"]
    assert engines.rows("SELECT seq FROM events") == [(1,), (2,)]
    assert engine.outbox.head == 2


async def test_a_batch_with_nothing_in_it_costs_no_commit(engines: Engines) -> None:
    engine = await engines.open()
    before = engine.journal.commits
    told: list[int] = []
    batch = Batch(engine.journal, engine.outbox)
    batch.then(lambda: told.append(1))
    batch.commit()
    assert told == [1]
    assert engine.journal.commits == before


def test_event_ids_do_not_repeat() -> None:
    assert len({new_event_id() for _ in range(1000)}) == 1000
