"""The web port: the API under /api/v1, health, metrics and the page at /."""

import logging
import re
from functools import partial
from importlib.metadata import version
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from cloudsync.problem import MEDIA_TYPE
from hub import viewer
from hub.api import admin, artifacts, boxes, enrol, events, output, problem, tasks, uploads
from hub.api.context import Context
from hub.errors import Refusal, StoreUnavailable
from hub.metrics import CONTENT_TYPE, Metrics
from hub.page import FILES, page_file

log = logging.getLogger(__name__)

_CREATE_TASK: Final = re.compile(r"/api/v1/boxes/([^/]+)/tasks\Z")

_METHOD: Final[dict[int | str, dict[str, Any]]] = {405: problem.RESPONSES[405]}

DESCRIPTION: Final = """The hub of a fleet of Operis boxes.
Every path but /api/v1/enrol wants `Authorization: Bearer KEY`.
Errors are problem documents (RFC 9457) with a `code`, a `detail` and a `hint`."""


def build(context: Context, metrics: Metrics) -> ASGIApp:
    """The application, with its busiest path in front."""
    return Express(build_api(context, metrics))


class Express:
    """Takes `POST /api/v1/boxes/{id}/tasks` past FastAPI's routing and dependency machinery to the same function.

    Measured: that machinery costs a fifth of the hub's CPU a task, and this path is nearly all of a hub's load.
    """

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        match = _CREATE_TASK.match(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if match is None:
            await self._app(scope, receive, send)
            return
        scope["app"] = self._app
        try:
            response = await tasks.create(match[1], Request(scope, receive))
        except Refusal as refusal:
            response = problem.problem(refusal)
        except StoreUnavailable as error:
            response = problem.unavailable(error)
        except Exception:
            log.exception("request failed: POST tasks")
            response = problem.failed()
        await response(scope, receive, send)


class _Api(FastAPI):
    """FastAPI, whose description says what we answer: its own validation errors never leave, ours are problems."""

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        if self.openapi_schema is None:
            document = super().openapi()
            for item in document["paths"].values():
                for operation in item.values():
                    _describe_errors(operation["responses"])
            document["components"]["schemas"].update(tasks.SPEC_DEFINITIONS)
            for name in ("HTTPValidationError", "ValidationError"):
                document["components"]["schemas"].pop(name, None)
        return super().openapi()


def _describe_errors(responses: dict[str, Any]) -> None:
    for status, response in list(responses.items()):
        content = response.get("content", {})
        if MEDIA_TYPE in content:
            response["content"] = {MEDIA_TYPE: content["application/json"]}
        elif str(content).endswith("HTTPValidationError'}}}"):
            del responses[status]


def build_api(context: Context, metrics: Metrics) -> FastAPI:
    """The application by FastAPI alone."""
    app = _Api(
        title="Operis hub",
        version=version("operis"),
        description=DESCRIPTION,
        openapi_url="/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        separate_input_output_schemas=False,
    )
    app.state.context = context
    problem.install(app)
    for part in (tasks, output, artifacts, uploads, boxes, events, admin, enrol):
        app.include_router(part.router, prefix="/api/v1")

    @app.get("/healthz", tags=["health"], responses={404: {"description": "Draining."}, **_METHOD})
    async def healthz() -> Response:
        """200 while the hub serves, 404 while it drains: a load balancer then sends new boxes elsewhere."""
        return Response("draining\n" if context.draining else "ok\n", 404 if context.draining else 200)

    @app.get("/readyz", tags=["health"], responses={503: problem.RESPONSES[503], **_METHOD})
    async def readyz() -> Response:
        """200 where the database answers and commits."""
        await context.store.write(lambda _: None)
        if context.draining:
            raise Refusal(503, "draining", "the hub is going down", hint="come again in a few seconds")
        return Response("ready\n")

    @app.get("/metrics", tags=["health"], responses={**_METHOD})
    async def get_metrics() -> Response:
        """Metrics for Prometheus."""
        return Response(metrics.text(), media_type=CONTENT_TYPE)

    @app.get(f"{viewer.PATH}{{path:path}}", include_in_schema=False)
    async def trace_viewer(path: str) -> Response:
        return await viewer.file(path)

    for path in FILES:
        app.add_api_route(path, partial(_page, path), include_in_schema=False)

    return app


async def _page(path: str) -> Response:
    return page_file(path)
