-- Files that tasks left; their bytes lie in the store under their sha256.
CREATE TABLE artifacts (
    n INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    task_id TEXT NOT NULL,
    name TEXT NOT NULL,
    media_type TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    -- (nothing) -> kept      with the outcome of its task
    -- (nothing) -> lost      there was no room for it
    -- kept      -> stored    the hub has it
    -- kept      -> lost      given up before the hub had it
    -- stored    -> kept      the hub was restored to a time before it had it
    state TEXT NOT NULL,
    why TEXT NOT NULL DEFAULT '',
    -- whether the box holds the bytes; those of a stored one go when room is needed
    here INTEGER NOT NULL,
    at INTEGER NOT NULL
);

CREATE INDEX artifacts_of_task ON artifacts (task_id);
CREATE INDEX artifacts_here ON artifacts (state, n) WHERE here;
CREATE INDEX artifacts_of_content ON artifacts (sha256) WHERE here;
