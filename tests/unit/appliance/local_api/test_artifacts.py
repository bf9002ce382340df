"""Files that tasks left, by the local API."""

import hashlib

from appliance.engine import Engine
from tests.unit.appliance.engines import Engines
from tests.unit.appliance.local_api.caller import Call

SIZE = 600_000
LONG = f"head -c {SIZE} /dev/zero | tr '\\0' x"


async def test_the_whole_of_a_long_output_is_listed_and_read(call: Call, engines: Engines) -> None:
    task_id = (await engines.run(LONG)).task_id
    listed = (await call("GET", f"/tasks/{task_id}/artifacts")).json
    assert listed["next"] is None
    (artifact,) = listed["items"]
    assert (artifact["name"], artifact["size_bytes"], artifact["state"], artifact["here"]) == (
        "stdout.txt",
        SIZE,
        "pending",
        True,
    )
    assert (await call("GET", f"/tasks/{task_id}")).json["artifacts"] == [artifact]
    whole = await call("GET", f"/artifacts/{artifact['id']}")
    assert whole.body == b"x" * SIZE
    assert hashlib.sha256(whole.body).hexdigest() == artifact["sha256"]
    assert whole.headers["content-type"].startswith("text/plain")
    assert whole.headers["content-disposition"] == "attachment; filename*=UTF-8''stdout.txt"
    part = await call("GET", f"/artifacts/{artifact['id']}", Range="bytes=599990-")
    assert (part.status, part.body) == (206, b"x" * 10)
    assert (await call("GET", f"/artifacts/{artifact['id']}", Range=f"bytes={SIZE}-")).status == 416


async def test_a_task_without_any_has_an_empty_list(call: Call, engines: Engines) -> None:
    task_id = (await engines.run("true")).task_id
    assert (await call("GET", f"/tasks/{task_id}/artifacts")).json == {"items": [], "next": None}
    assert (await call("GET", "/tasks/nobody/artifacts")).status == 404
    assert (await call("GET", "/artifacts/nobody")).status == 404


async def test_one_that_is_gone_says_where_it_went(call: Call, engines: Engines, served: Engine) -> None:
    task_id = (await engines.run(LONG)).task_id
    ((artifact_id, sha256),) = engines.rows("SELECT id, sha256 FROM artifacts WHERE task_id = ?", task_id)
    await served.executor.artifacts.lose(sha256, SIZE, "there was no room")
    answer = await call("GET", f"/artifacts/{artifact_id}")
    assert (answer.status, answer.json["code"]) == (410, "lost")
    assert "there was no room" in answer.json["detail"]
    (artifact,) = (await call("GET", f"/tasks/{task_id}")).json["artifacts"]
    assert (artifact["state"], artifact["why"], artifact["here"]) == ("lost", "there was no room", False)
    assert (await call("GET", f"/tasks/{task_id}/output")).headers["operis-truncated"] == "true"


async def test_one_that_the_hub_has_is_to_be_found_there(call: Call, engines: Engines, served: Engine) -> None:
    task_id = (await engines.run(LONG)).task_id
    ((artifact_id, sha256),) = engines.rows("SELECT id, sha256 FROM artifacts WHERE task_id = ?", task_id)
    await served.executor.artifacts.stored(sha256)
    served.executor.artifacts.path(sha256).unlink()
    answer = await call("GET", f"/artifacts/{artifact_id}")
    assert (answer.status, answer.json["code"]) == (410, "gone")
