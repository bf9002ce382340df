"""Paths of tasks: create, list, look, cancel."""

import asyncio
import hashlib
from typing import Any, Final

import pydantic_core
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from appliance.engine import Engine
from appliance.errors import IdReused, Refusal, TaskRefused
from appliance.local_api import request as asked, view
from appliance.local_api.problem import refused_task, wrong_body
from cloudsync.identity import public_key
from cloudsync.spec import KINDS, SPEC
from cloudsync.task import FINAL, Origin, TaskState

_STATES: Final = tuple(str(state) for state in TaskState)
_ORIGINS: Final = tuple(str(origin) for origin in Origin)


class Tasks:
    """The tasks of a box. `stopping` is set when the daemon goes: who waits is answered then."""

    def __init__(self, engine: Engine, stopping: asyncio.Event) -> None:
        self._engine = engine
        self._stopping = stopping

    def routes(self) -> list[Route]:
        """Where they are."""
        return [
            Route("/tasks", self.create, methods=["POST"]),
            Route("/tasks", self.listed, methods=["GET"]),
            Route("/tasks/{id}", self.one, methods=["GET"]),
            Route("/tasks/{id}/cancel", self.cancel, methods=["POST"]),
        ]

    async def create(self, request: Request) -> Response:
        """Take a task on. It is journaled when this answers: 201, or with `wait_s` 200 after its end, else 202."""
        asked.known_query(request, "wait_s")
        wait_s = asked.wait_s(request)
        key = asked.idempotency_key(request)
        try:
            spec = SPEC.validate_json(await asked.read_body(request))
        except ValidationError as error:
            raise wrong_body(error) from error
        task_id = None if key is None else self._keyed_id(key)
        existing = False
        try:
            task_id = await self._engine.submit(spec, created_by=asked.who(request), task_id=task_id)
        except IdReused as reused:
            if not reused.is_same:
                hint = "Use another key for another task."
                raise Refusal(409, "key_reused", "the Idempotency-Key was another task's before", hint) from reused
            task_id, existing = reused.task_id, True
        except TaskRefused as refused:
            raise refused_task(refused) from refused
        if wait_s is not None:
            await self._wait(task_id, wait_s)
        shown = self.shown(task_id)
        if wait_s is None and not existing:
            return reply(shown, 201, {"location": f"/tasks/{task_id}"})
        return reply(shown, 200 if shown["state"] in FINAL else 202)

    def _keyed_id(self, key: str) -> str:
        """The id of the task that this key makes, on this box and no other."""
        text = f"{public_key(self._engine.private_key)}\n{key}"
        return hashlib.sha256(text.encode()).hexdigest()[:28]

    async def _wait(self, task_id: str, wait_s: float) -> None:
        """Until the task is over, the time is, or the daemon goes."""
        loop = asyncio.get_running_loop()
        ends = {loop.create_task(self._engine.wait(task_id)), loop.create_task(self._stopping.wait())}
        try:
            await asyncio.wait(ends, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()

    async def listed(self, request: Request) -> Response:
        """Tasks, the newest first."""
        asked.known_query(request, "limit", "cursor", "state", "kind", "origin", "created_by")
        limit = asked.number(request, "limit", asked.LIST_DEFAULT, 1, asked.LIST_LIMIT)
        before = asked.number(request, "cursor", asked.NUMBER_LIMIT, 1, asked.NUMBER_LIMIT)
        filters = {
            "state": asked.choice(request, "state", _STATES),
            "kind": asked.choice(request, "kind", KINDS),
            "origin": asked.choice(request, "origin", _ORIGINS),
            "created_by": request.query_params.get("created_by"),
        }
        rows, has_more = self._engine.journal.tasks(filters, limit, before)
        following = str(rows[-1]["n"]) if has_more else None
        return reply({"items": [view.task(self._engine, row) for row in rows], "next": following})

    async def one(self, request: Request) -> Response:
        """One task."""
        asked.known_query(request)
        return reply(self.shown(request.path_params["id"]))

    async def cancel(self, request: Request) -> Response:
        """End a task whatever it is doing; one that is over stays as it is."""
        asked.known_query(request)
        task_id = request.path_params["id"]
        self.row(task_id)
        self._engine.executor.cancel(task_id, asked.who(request))
        await self._engine.journal.committed([])
        return reply(self.shown(task_id))

    def row(self, task_id: str) -> dict[str, Any]:
        """A task as the journal has it; 404 where it is not known, 410 where it is no longer kept."""
        row = self._engine.journal.task(task_id)
        if row is not None:
            return row
        if self._engine.journal.known_digest(task_id) is not None:
            hint = "Look for it at the hub: the ledger keeps it longer."
            raise Refusal(410, "gone", f"the box no longer keeps task {task_id}", hint)
        raise Refusal(
            404, "not_found", f"there is no task '{task_id[:80]}'", "'operis-box tasks' and GET /tasks list them."
        )

    def shown(self, task_id: str) -> dict[str, Any]:
        """A task's JSON."""
        return view.task(self._engine, self.row(task_id))


def reply(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON response; a number that JSON cannot write is null."""
    return Response(pydantic_core.to_json(value, inf_nan_mode="null"), status, headers, "application/json")
