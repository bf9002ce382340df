-- The box's journal. Times are Unix milliseconds of the box's clock, unless a name says otherwise.

-- One row a fact: incarnation, session, last, command_seq, acked_event_seq, box_key, clean_stop, hub_work_held, and
-- open_from: all tasks with a smaller n are over (an index of the others would cost a page more in every commit).
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value NOT NULL
) WITHOUT ROWID;

CREATE TABLE tasks (
    n INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    origin TEXT NOT NULL,
    -- (nothing) -> accepted, running      a command or a local task, by whether a slot was free
    -- (nothing) -> rejected, expired      a command that is refused
    -- accepted  -> running                a slot came free
    -- accepted  -> cancelled
    -- running   -> running                the next attempt of an idempotent task
    -- running   -> succeeded, failed, timed_out, cancelled, interrupted
    state TEXT NOT NULL,
    spec TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    accepted_at INTEGER,
    attempt INTEGER NOT NULL DEFAULT 0,
    -- the boot in which the attempt runs: its process, and what it leaves behind, belong to that one
    boot_id TEXT,
    started_at INTEGER,
    -- why it is being ended, committed before its processes get a signal; it names the outcome
    intent TEXT,
    intent_by TEXT,
    ended_at INTEGER,
    exit_code INTEGER,
    error_code TEXT,
    -- the event that has the outcome
    final_seq INTEGER
);

-- What the hub must know, in order and without a gap. Acked ones are kept for a hub that is restored from a backup.
CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    body TEXT NOT NULL
);

-- Ids of tasks that are no longer kept, so that one that is offered again does not run again.
CREATE TABLE tombstones (
    id TEXT PRIMARY KEY,
    digest TEXT NOT NULL,
    at INTEGER NOT NULL
) WITHOUT ROWID;
