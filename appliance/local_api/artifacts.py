"""Paths of the files that tasks left: listed by task, and their bytes while the box has them."""

from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from appliance.engine import Engine
from appliance.errors import Refusal
from appliance.local_api import content, request as asked, view
from appliance.local_api.tasks import Tasks, reply


class ArtifactPaths:
    """What tasks left."""

    def __init__(self, engine: Engine, tasks: Tasks) -> None:
        self._store = engine.executor.artifacts
        self._tasks = tasks

    def routes(self) -> list[Route]:
        """Where they are."""
        return [
            Route("/tasks/{id}/artifacts", self.listed, methods=["GET"]),
            Route("/artifacts/{id}", self.one, methods=["GET"]),
        ]

    async def listed(self, request: Request) -> Response:
        """All of a task, in the order in which they came."""
        asked.known_query(request)
        row = self._tasks.row(request.path_params["id"])
        return reply({"items": [view.artifact(one) for one in self._store.of_task(row["id"])], "next": None})

    async def one(self, request: Request) -> Response:
        """The bytes of one; 410 where the box no longer has them."""
        asked.known_query(request)
        artifact_id = request.path_params["id"]
        row = self._store.find(artifact_id)
        if row is None:
            hint = "GET /tasks/{id}/artifacts lists those of a task."
            raise Refusal(404, "not_found", f"there is no artifact '{artifact_id[:80]}'", hint)
        path = self._store.path(row["sha256"])
        if not row["here"] or not content.exists(path):
            raise _gone(row)
        headers = {
            "etag": f'"{row["sha256"]}"',
            "content-disposition": f"attachment; filename*=UTF-8''{quote(row['name'], safe='')}",
        }
        return content.of_file(request, path, row["media_type"], headers)


def _gone(row: dict[str, Any]) -> Refusal:
    if row["state"] == "stored":
        return Refusal(410, "gone", f"the box let {row['name']} go", "The hub has it: look for it there.")
    why = row["why"] or "its file is no longer there"
    return Refusal(410, "lost", f"{row['name']} is lost: {why}", "Run the task again where it is needed.")
