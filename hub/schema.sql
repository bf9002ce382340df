-- The hub's database. Times are milliseconds since 1970 by the hub's clock unless a column says otherwise.

CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE customers (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    plan TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
) WITHOUT ROWID;

CREATE TABLE keys (
    id TEXT PRIMARY KEY,
    hash TEXT NOT NULL UNIQUE,          -- sha256 of a key of 32 random bytes
    customer_id TEXT REFERENCES customers (id), -- NULL: the platform admin
    role TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
) WITHOUT ROWID;

CREATE TABLE tokens (
    id TEXT PRIMARY KEY,
    hash TEXT NOT NULL UNIQUE,
    customer_id TEXT NOT NULL REFERENCES customers (id),
    uses_left INTEGER NOT NULL,
    expires_at INTEGER,
    box_id TEXT,                        -- re-enrols this box on other hardware
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
) WITHOUT ROWID;

CREATE TABLE boxes (
    id TEXT PRIMARY KEY,                -- never given again
    customer_id TEXT NOT NULL REFERENCES customers (id),
    name TEXT NOT NULL,
    public_key TEXT NOT NULL UNIQUE,
    hwid TEXT NOT NULL DEFAULT '',
    standing TEXT NOT NULL DEFAULT 'active', -- active -> quarantined -> active; active, quarantined -> revoked
    why TEXT NOT NULL DEFAULT '',
    incarnation TEXT,
    fence INTEGER NOT NULL DEFAULT 0,   -- the newest session number that was let in
    settled INTEGER NOT NULL DEFAULT 0, -- the newest that the box has confirmed
    command_seq INTEGER NOT NULL DEFAULT 0, -- the newest command below which all are acked, or were continued from
    event_seq INTEGER NOT NULL DEFAULT 0,
    event_id TEXT,
    released_copy TEXT,
    last_seen_at INTEGER,
    enrolled_at INTEGER NOT NULL,
    tags TEXT NOT NULL DEFAULT '[]',
    inventory TEXT NOT NULL DEFAULT '{}'
) WITHOUT ROWID;
CREATE INDEX boxes_of_customer ON boxes (customer_id, id);

CREATE TABLE closed_incarnations (
    box_id TEXT NOT NULL,
    incarnation TEXT NOT NULL,
    closed_at INTEGER NOT NULL,
    PRIMARY KEY (box_id, incarnation)
) WITHOUT ROWID;

CREATE TABLE copies (                   -- copies of a box that were shut out, for the operator to choose from
    box_id TEXT NOT NULL,
    copy_id TEXT NOT NULL,
    why TEXT NOT NULL,
    hwid TEXT NOT NULL,
    seen_at INTEGER NOT NULL,
    PRIMARY KEY (box_id, copy_id)
) WITHOUT ROWID;

CREATE TABLE tasks (
    n INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    customer_id TEXT NOT NULL,
    box_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    spec TEXT NOT NULL,
    origin TEXT NOT NULL,
    created_by TEXT NOT NULL,
    state TEXT NOT NULL,                -- see cloudsync/task.py
    delivery TEXT NOT NULL,             -- unsent -> sent -> confirmed
    incarnation TEXT,
    attempt INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    deliver_by INTEGER,
    delivered_at INTEGER,
    accepted_at INTEGER,                -- this and the next two: the box's clock, corrected
    started_at INTEGER,
    ended_at INTEGER,
    synced_at INTEGER,
    exit_code INTEGER,
    outcome TEXT,                       -- cloudsync.spec.Outcome
    final_by_hub INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX tasks_of_box ON tasks (box_id);
CREATE INDEX tasks_of_customer ON tasks (customer_id);
CREATE INDEX tasks_waiting ON tasks (box_id, n) WHERE delivery = 'unsent' AND state = 'queued';
CREATE INDEX tasks_expiring ON tasks (deliver_by) WHERE delivery = 'unsent' AND state = 'queued';
CREATE INDEX tasks_open ON tasks (box_id, state) WHERE state IN ('queued', 'accepted', 'running');

CREATE TABLE commands (                 -- hub -> box log; a row goes when it is acked
    box_id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    type TEXT NOT NULL,                 -- run, cancel
    task_id TEXT NOT NULL,
    made_by TEXT NOT NULL,
    PRIMARY KEY (box_id, seq)
) WITHOUT ROWID;

CREATE TABLE events (                   -- the ledger: box -> hub log, each entry once
    n INTEGER PRIMARY KEY,
    customer_id TEXT NOT NULL,
    box_id TEXT NOT NULL,
    incarnation TEXT NOT NULL,          -- '' for what the hub itself decided
    seq INTEGER NOT NULL,               -- 0 for what the hub itself decided
    id TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL,
    task_id TEXT,
    state TEXT,
    at INTEGER NOT NULL,                -- the box's clock, corrected
    stored_at INTEGER NOT NULL,
    body TEXT                           -- only for types other than 'task'
);

CREATE TABLE idempotency (
    customer_id TEXT NOT NULL,
    key TEXT NOT NULL,
    digest TEXT NOT NULL,
    task_id TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (customer_id, key)
) WITHOUT ROWID;
