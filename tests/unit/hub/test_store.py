"""The store: what is committed together, whose failure is whose, and what becomes of it when the disk does not help."""

import asyncio
import os
import shutil
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pysqlite3.dbapi2 as sqlite3
import pytest

from hub import migrations, store as store_module, tenancy
from hub.errors import Refusal, StartError, StoreUnavailable
from hub.store import Connection, Store, connect, open_database, transact


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """An open store with a small table."""
    opened = Store(tmp_path / "hub.db")
    opened.start()
    await opened.write(lambda c: c.execute("CREATE TABLE words (word TEXT UNIQUE)"))
    yield opened
    await opened.stop()


def add(word: str) -> "store_module.Job[int]":
    """A job that writes a word."""

    def job(connection: Connection) -> int:
        connection.execute("INSERT INTO words VALUES (?)", (word,))
        return len(word)

    return job


def words(store: Store) -> set[str]:
    """What is durable."""
    return {row["word"] for row in store.read_now("SELECT word FROM words")}


async def test_many_jobs_share_one_commit(store: Store) -> None:
    before = store.commits
    results = await asyncio.gather(*(store.write(add(f"w{number}")) for number in range(200)))
    assert len(results) == 200
    assert store.commits - before == 1
    assert len(words(store)) == 200


async def test_jobs_that_come_while_the_disk_works_wait_for_the_next_commit(store: Store) -> None:
    before = store.commits
    first = store.write(add("first"))
    await asyncio.sleep(0)
    second = store.write(add("second"))
    await asyncio.gather(first, second)
    assert store.commits - before == 2


async def test_a_result_is_durable_when_it_is_told(store: Store, tmp_path: Path) -> None:
    await store.write(add("told"))
    with sqlite3.connect(str(tmp_path / "hub.db")) as other:
        assert other.execute("SELECT count(*) FROM words").fetchone()[0] == 1


async def test_job_that_fails_after_it_wrote_fails_alone_and_leaves_nothing(store: Store) -> None:
    def half(connection: Connection) -> None:
        connection.execute("INSERT INTO words VALUES ('half')")
        raise ValueError("in the middle")

    results = await asyncio.gather(
        store.write(add("a")), store.write(half), store.write(add("b")), return_exceptions=True
    )
    assert results[0] == 1
    assert isinstance(results[1], ValueError)
    assert results[2] == 1
    assert words(store) == {"a", "b"}


async def test_refusal_after_a_write_keeps_nothing_of_it(store: Store) -> None:
    def refuse(connection: Connection) -> None:
        connection.execute("INSERT INTO words VALUES ('used')")
        raise Refusal(403, "no", "no")

    results = await asyncio.gather(store.write(add("a")), store.write(refuse), return_exceptions=True)
    assert isinstance(results[1], Refusal)
    assert words(store) == {"a"}


async def test_refusal_before_a_write_costs_the_others_nothing(store: Store) -> None:
    def refuse(_: Connection) -> None:
        raise Refusal(404, "no", "no")

    before = store.commits
    results = await asyncio.gather(
        store.write(add("a")), store.write(refuse), store.write(add("b")), return_exceptions=True
    )
    assert isinstance(results[1], Refusal)
    assert store.commits - before == 1


async def test_broken_constraint_is_only_its_own_callers_failure(store: Store) -> None:
    results = await asyncio.gather(*(store.write(add(word)) for word in ("a", "a", "b")), return_exceptions=True)
    assert isinstance(results[1], sqlite3.IntegrityError)
    assert words(store) == {"a", "b"}


async def test_cancelled_caller_neither_stops_the_job_nor_the_store(store: Store) -> None:
    gone = store.write(add("gone"))
    gone.cancel()
    await store.write(add("here"))
    assert words(store) == {"gone", "here"}


async def test_what_waits_at_the_stop_is_committed(tmp_path: Path) -> None:
    store = Store(tmp_path / "hub.db")
    store.start()
    await store.write(lambda c: c.execute("CREATE TABLE words (word TEXT UNIQUE)"))
    first = store.write(add("first"))
    again: list[asyncio.Future[int]] = []
    first.add_done_callback(lambda _: again.append(store.write(add("second"))))
    await store.stop()
    assert await again[0] == 6
    with sqlite3.connect(str(tmp_path / "hub.db")) as other:
        assert other.execute("SELECT count(*) FROM words").fetchone()[0] == 2


async def test_lock_of_an_admin_command_delays_writes_but_not_the_loop(store: Store, tmp_path: Path) -> None:
    other = connect(tmp_path / "hub.db")
    other.execute("BEGIN IMMEDIATE")
    waiting = store.write(add("later"))
    loop = asyncio.get_running_loop()
    slowest_s, began = 0.0, loop.time()
    while loop.time() - began < 0.3:
        before = loop.time()
        await asyncio.sleep(0.005)
        slowest_s = max(slowest_s, loop.time() - before)
    assert not waiting.done()
    assert slowest_s < 0.2
    other.execute("COMMIT")
    assert await waiting == 5
    other.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    if os.geteuid() != 0 or shutil.which("mount") is None:  # pragma: no cover
        pytest.fail("mounting a small tmpfs needs root: run the tests as root or in a user namespace")
    mount = tmp_path / "small"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", mount], check=True)
    yield mount
    subprocess.run(["umount", "-l", mount], check=True)


async def test_full_disk_refuses_writes_and_recovers_by_itself(small_disk: Path) -> None:
    store = Store(small_disk / "hub.db")
    store.start()
    await store.write(lambda c: c.execute("CREATE TABLE words (word TEXT UNIQUE)"))
    ballast = small_disk / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    told: list[int] = []
    refused = ""
    while not refused and len(told) < 200:
        try:
            await store.write(add(f"{len(told)}" * 2000))
            told.append(len(told))
        except StoreUnavailable as error:
            refused = str(error)
    assert "full" in refused
    with pytest.raises(StoreUnavailable):
        await asyncio.gather(*(store.write(add(f"x{number}" * 3000)) for number in range(5)))
    ballast.unlink()
    await store.write(add("again"))
    assert words(store) == {"again", *(f"{number}" * 2000 for number in told)}
    assert store.read_now("PRAGMA integrity_check")[0][0] == "ok"
    await store.stop()


def test_full_disk_at_the_first_start_is_a_clear_error(small_disk: Path) -> None:
    with suppress(OSError), (small_disk / "ballast").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    with pytest.raises(StartError) as caught:
        open_database(small_disk / "hub.db")
    assert caught.value.hint


def test_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    open_database(tmp_path / "hub.db").close()
    with sqlite3.connect(str(tmp_path / "hub.db")) as other:
        other.execute(f"PRAGMA user_version={migrations.VERSION + 1}")
    with pytest.raises(StartError, match="version"):
        open_database(tmp_path / "hub.db")


def test_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "hub.db").write_bytes(b"no database at all, but long enough to be looked at" * 100)
    with pytest.raises(StartError, match="not a usable database"):
        open_database(tmp_path / "hub.db")


def test_database_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(str(tmp_path / "hub.db")) as other:
        other.execute("CREATE TABLE keys (mine TEXT)")
    with pytest.raises(StartError) as caught:
        open_database(tmp_path / "hub.db")
    assert caught.value.hint
    with sqlite3.connect(str(tmp_path / "hub.db")) as other:
        assert [row[0] for row in other.execute("SELECT name FROM sqlite_master")] == ["keys"]


def test_two_programs_may_make_the_database_at_once(tmp_path: Path) -> None:
    failed: list[str] = []
    for number in range(10):
        start = threading.Barrier(4)

        def work(path: Path = tmp_path / f"{number}.db", start: threading.Barrier = start) -> None:
            start.wait()
            try:
                open_database(path).close()
            except BaseException as error:  # noqa: BLE001 - told to the test
                failed.append(repr(error))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failed == []


def test_database_is_for_its_owner_alone_and_durable_by_default(tmp_path: Path) -> None:
    connection = open_database(tmp_path / "hub.db")
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"hub.db": 0o600, "hub.db-wal": 0o600, "hub.db-shm": 0o600}
    assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2
    connection.close()


def test_transaction_of_a_command_is_whole_or_not_at_all(tmp_path: Path) -> None:
    connection = open_database(tmp_path / "hub.db")

    def half(c: Connection) -> None:
        tenancy.add_customer(c, "half", "unlimited", 1)
        raise Refusal(409, "no", "no")

    with pytest.raises(Refusal):
        transact(connection, half)
    assert transact(connection, lambda c: c.execute("SELECT count(*) FROM customers").fetchone()[0]) == 0
    connection.close()


def test_command_that_cannot_get_the_lock_says_so(tmp_path: Path) -> None:
    first, second = open_database(tmp_path / "hub.db"), connect(tmp_path / "hub.db")
    second.execute("PRAGMA busy_timeout=10")
    first.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked"):
        transact(second, lambda _: None)
    first.close()
    second.close()
