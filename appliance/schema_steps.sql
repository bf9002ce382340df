-- What the steps of a browser task gave, while it runs: entered as each ends, so that a task which is cut off says how
-- far it came. They go in the commit of its outcome, which holds them.
CREATE TABLE steps (
    task_id TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    -- from 0 on, as the task lists them
    n INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (task_id, attempt, n)
) WITHOUT ROWID;
