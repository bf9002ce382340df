-- Files that tasks left, as their outcomes name them; they go with their task.
CREATE TABLE artifacts (
    n INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    customer_id TEXT NOT NULL,
    box_id TEXT NOT NULL,
    task_id TEXT NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    media_type TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    state TEXT NOT NULL,                -- (nothing) -> pending, or stored where the customer has the content; -> stored, lost
    why TEXT NOT NULL DEFAULT ''        -- of a lost one
);
CREATE INDEX artifacts_of_task ON artifacts (task_id);
CREATE INDEX artifacts_of_content ON artifacts (customer_id, sha256);

CREATE TABLE blobs (                    -- contents that lie in the store, whole and verified
    customer_id TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    stored_at INTEGER NOT NULL,
    PRIMARY KEY (customer_id, sha256)
) WITHOUT ROWID;
