"""An operator's console on the relay port: one JSON frame a command, one frame back when its task has ended."""

import asyncio
import json
import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import pydantic_core
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, TypeAdapter, ValidationError
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from cloudsync.messages import describe
from cloudsync.spec import BASH_TIMEOUT_S, MAX_TIMEOUT_S, BashExec, ErrorBody, encode_spec
from cloudsync.task import FINAL
from hub.dispatch import Dispatch, new_id, now_ms
from hub.errors import HubError, Refusal
from hub.ledger import NewTask
from hub.tenancy import Principal

log = logging.getLogger(__name__)

# Tasks one console may have unfinished; more wait in the socket.
IN_FLIGHT: Final = 256
WAIT_S: Final = 60.0
GRACE_S: Final = 5.0


class ConsoleRequest(BaseModel):
    """A frame from a console."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    type: Literal["bash.exec"]
    command: str
    id: str | bool | int | FiniteFloat | None = None
    timeout_s: Annotated[float, Field(gt=0, le=MAX_TIMEOUT_S, allow_inf_nan=False)] | None = None


_REQUEST: Final[TypeAdapter[ConsoleRequest]] = TypeAdapter(ConsoleRequest)


@dataclass(frozen=True, slots=True)
class Access:
    """Whose console it is, and to which box."""

    box_id: str
    principal: Principal


class Console:
    """One console connection."""

    def __init__(self, dispatch: Dispatch, connection: ServerConnection, access: Access) -> None:
        self._dispatch = dispatch
        self._connection = connection
        self._access = access
        self._running: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(IN_FLIGHT)

    async def run(self) -> None:
        """Answer frames until the console leaves; its tasks go on."""
        try:
            async for frame in self._connection:
                await self._room.acquire()
                task = asyncio.create_task(self._answer(frame))
                self._running.add(task)
                task.add_done_callback(self._done)
        except ConnectionClosed:
            pass
        finally:
            # What came is accepted: each answer begins, and from there on hands its task over whatever becomes of it.
            await asyncio.sleep(0)
            for task in self._running:
                task.cancel()

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        self._room.release()
        if not task.cancelled():
            task.result()

    async def _answer(self, frame: str | bytes) -> None:
        began_at = now_ms()
        echo: Any = None
        try:
            echo, request = _read(frame)
            reply = await self._run(request, began_at)
        except Refusal as refusal:
            echo = refusal.extra.get("echo", echo)
            reply = _failure(ErrorBody(code=refusal.code, message=refusal.detail, hint=refusal.hint), began_at)
        except HubError as error:
            hint = "nothing was accepted; send it again later"
            reply = _failure(ErrorBody(code="unavailable", message=str(error), hint=hint), began_at)
        except Exception:
            log.exception("console frame failed: box=%s", self._access.box_id)
            hint = "it is logged on the hub; report it if it stays"
            reply = _failure(ErrorBody(code="internal", message="the hub failed on this frame", hint=hint), began_at)
        reply["id"] = echo
        with suppress(ConnectionClosed):
            await self._connection.send(pydantic_core.to_json(reply, inf_nan_mode="null").decode())

    async def _run(self, request: ConsoleRequest, began_at: int) -> dict[str, Any]:
        spec = _spec(request)
        principal = self._access.principal
        task_id = new_id()
        waiter = self._dispatch.expect(task_id)
        try:
            submitted = await self._dispatch.submit(
                NewTask(
                    id=task_id,
                    customer_id=principal.customer_id,
                    box_id=self._access.box_id,
                    kind=spec.kind,
                    spec=encode_spec(spec),
                    created_by=principal.name,
                    created_at=began_at,
                    deliver_by=began_at + int(spec.deliver_within_s * 1000),
                )
            )
        except BaseException:
            self._dispatch.forget(task_id, waiter)
            raise
        wait_s = WAIT_S if request.timeout_s is None else request.timeout_s + GRACE_S
        row = await self._dispatch.wait(task_id, waiter, wait_s)
        shown = self._dispatch.view(row or self._dispatch.task(task_id, None) or submitted.row)
        if shown["state"] in FINAL:
            return _reply(shown, began_at)
        error = ErrorBody(
            code="not_ended",
            message=f"the task is {shown['state']} after {wait_s:.0f} s and goes on",
            hint=f"see it with 'operis task {task_id}'",
        )
        return _reply(shown, began_at) | {"error": error.model_dump()}


def _read(frame: str | bytes) -> tuple[Any, ConsoleRequest]:
    """The echo id and the request; a refusal still carries the id where the frame has one."""
    if isinstance(frame, bytes):
        raise Refusal(400, "binary_frame", "a binary frame", hint="send one JSON object a text frame")
    try:
        return (request := _REQUEST.validate_json(frame)).id, request
    except ValidationError as error:
        raise _refused(frame, error) from error


def _refused(frame: str, error: ValidationError) -> Refusal:
    hint = 'send {"type":"bash.exec","command":…}, optionally "id" and "timeout_s"; it is the only type'
    extra = {}
    with suppress(ValueError, RecursionError):
        value = json.loads(frame)
        if isinstance(value, dict) and isinstance(value.get("id"), str | int | float):
            extra["echo"] = value["id"]
    return Refusal(422, "invalid", describe(error), hint=hint, extra=extra)


def _spec(request: ConsoleRequest) -> BashExec:
    timeout_s = BASH_TIMEOUT_S if request.timeout_s is None else request.timeout_s
    try:
        return BashExec(kind="bash.exec", command=request.command, timeout_s=timeout_s)
    except ValidationError as error:
        raise Refusal(422, "invalid", describe(error), hint="send a bash script as 'command'") from error


def _failure(error: ErrorBody, began_at: int) -> dict[str, Any]:
    return {
        "success": False,
        "id": None,
        "task_id": None,
        "state": None,
        "exit_code": None,
        "stdout": "",
        "stderr": "",
        "duration_ms": now_ms() - began_at,
        "error": error.model_dump(),
    }


def _reply(task: dict[str, Any], began_at: int) -> dict[str, Any]:
    return {
        "success": task["state"] == "succeeded",
        "id": None,
        "task_id": task["id"],
        "state": task["state"],
        "exit_code": task["exit_code"],
        "stdout": task["stdout"],
        "stderr": task["stderr"],
        "duration_ms": now_ms() - began_at,
        "error": task["error"],
    }
