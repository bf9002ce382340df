"""What tests of the steps perform on: pages from a real server, in contexts of one real browser."""

import asyncio
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from playwright.async_api import BrowserContext

from appliance.browser.perform import StepsOutcome, run_steps
from cloudsync.spec import SPEC, BrowserRun, StepResult

Respond = Callable[[BaseHTTPRequestHandler], None]


class Pages:
    """Serves HTML by path; a path may have a function that answers itself."""

    def __init__(self) -> None:
        self.at: dict[str, str | Respond] = {}
        self.asked: list[str] = []
        """Method and path of each request, in order."""
        pages = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                pages.asked.append(f"{self.command} {self.path}")
                match pages.at.get(path):
                    case None:
                        self.answer(404, b"nothing here", {"Content-Type": "text/plain"})
                    case str() as html:
                        self.answer(200, html.encode(), {"Content-Type": "text/html; charset=utf-8"})
                    case respond:
                        respond(self)

            do_POST = do_GET  # noqa: N815 - the base's name

            def answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *_: Any) -> None:  # noqa: A002 - the base's name
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                """A browser that goes away in the middle is no news."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def answer(status: int, body: bytes, **headers: str) -> Respond:
    """A function that answers so; `_` in a header's name is `-`."""

    def respond(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return respond


@dataclass
class Stage:
    """One context, and the pages that it finds at `/…`."""

    context: BrowserContext
    pages: Pages
    folder: Path
    told: list[tuple[int, StepResult]] = field(default_factory=list)
    _told: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def results(self) -> list[StepResult]:
        """Those of the steps that were performed last."""
        return [result for _, result in self.told]

    async def first_told(self) -> None:
        """Wait until a step has ended."""
        await self._told.wait()

    def tell(self, index: int, result: StepResult) -> None:
        """Take a step's result."""
        self.told.append((index, result))
        self._told.set()

    async def perform(
        self, *steps: dict[str, Any], secrets: Mapping[str, str] | None = None, **more: Any
    ) -> StepsOutcome:
        """Perform these steps; in their texts `@/` stands for the server's address."""
        self.told.clear()
        time_s = more.pop("time_s", 60.0)
        spec = self.spec(*steps, **more)
        return await run_steps(
            self.context,
            spec,
            folder=self.folder,
            deadline_s=asyncio.get_running_loop().time() + time_s,
            secrets=secrets or {},
            on_step=self.tell,
        )

    def spec(self, *steps: dict[str, Any], **more: Any) -> BrowserRun:
        """The task of these steps."""
        full = [
            {
                name: value.replace("@/", f"{self.pages.url}/") if isinstance(value, str) else value
                for name, value in step.items()
            }
            for step in steps
        ]
        spec = SPEC.validate_python({"kind": "browser.run", "steps": full, **more})
        assert isinstance(spec, BrowserRun)
        return spec

    async def values(self, *steps: dict[str, Any], **more: Any) -> list[Any]:
        """The values of these steps, none of which fails."""
        outcome = await self.perform(*steps, **more)
        assert outcome.error is None, outcome.error
        return [result.value for result in self.results]

    async def on(self, html: str, *steps: dict[str, Any], **more: Any) -> Any:
        """The value of the last of these steps, on a page of this HTML."""
        self.pages.at["/page"] = html
        return (await self.values({"action": "goto", "url": "@/page"}, *steps, **more))[-1]

    async def fails(self, html: str, *steps: dict[str, Any], **more: Any) -> str:
        """What is said of the last of these steps, which fails, on a page of this HTML."""
        self.pages.at["/page"] = html
        outcome = await self.perform({"action": "goto", "url": "@/page"}, *steps, **more)
        assert outcome.error is not None, self.results
        assert [result.state for result in self.results[:-1]] == ["succeeded"] * len(steps), self.results
        return f"{outcome.error.code}: {outcome.error.message}"


def browser_path() -> str:
    """The browser that is installed here."""
    found = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium"))), None)
    assert found is not None, "install chromium-headless-shell"
    return found
