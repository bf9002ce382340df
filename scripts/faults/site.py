"""A site on the loopback whose pages do what breaks browsers: they take all memory, never load, never end."""

import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

HOME: Final = "<title>Home</title><h1>Hello</h1><p id=p>text of the page</p><input id=i>"
GREEDY: Final = "<script>const all = []; for (;;) all.push(new Array(1e6).fill(Math.random()))</script>"
DIALOGS: Final = "<p id=p>text of the page</p><script>for (let n = 0; n < 60; n++) alert(`dialog ${n}`)</script>"
STAYING: Final = (
    "<p id=p>text of the page</p><script>addEventListener('beforeunload', event => { event.preventDefault(); "
    "event.returnValue = 'stay'; })</script><button onclick='this.textContent = 1'>touch</button>"
)
REFRESH: Final = "<meta http-equiv=refresh content=0><p id=p>text of the page</p>"
FONT: Final = (
    "<style>@font-face { font-family: never; src: url(/never.woff2) } body { font-family: never }</style>"
    "<p id=p>text of the page</p>"
)
HUGE: Final = "<p id=p>text of the page</p>" + "".join(f"<div class=row>{n} {'x' * 90}</div>" for n in range(45_000))
PAGES: Final = {
    "home": HOME,
    "greedy": GREEDY,
    "dialogs": DIALOGS,
    "staying": STAYING,
    "refresh": REFRESH,
    "font": FONT,
    "huge": HUGE,
}


class Site:
    """Serves each page at `/PAGE/KEY`; what never ends, ends with `close`."""

    def __init__(self) -> None:
        self.visits: Counter[str] = Counter()
        """How often a page was asked for under each key."""
        self._is_over = threading.Event()
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                page, _, key = self.path.removeprefix("/").partition("/")
                site.visits[key] += 1
                match page:
                    case "endless":
                        self._never_ending({"Content-Type": "text/html"})
                    case "download":
                        self._never_ending({"Content-Disposition": "attachment; filename=endless.bin"})
                    case "never.woff2":
                        site._is_over.wait()
                    case _:
                        self._page(PAGES.get(page, HOME).encode())

            def _page(self, body: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def _never_ending(self, headers: dict[str, str]) -> None:
                self.send_response(200)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                while not site._is_over.wait(0.05):
                    self.wfile.write(b"more and more " * 64)

            def log_message(self, format: str, *_: Any) -> None:  # noqa: A002 - the base's name
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                """A browser that was killed in the middle is no news."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        """Serve no more."""
        self._is_over.set()
        self._server.shutdown()
        self._server.server_close()
