"""A page of 33 KB, served from the benchmark's own process, which has nothing else to do meanwhile."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

SIZE_BYTES: Final = 33 * 1024


def _html() -> bytes:
    rows: list[str] = []
    size = 0
    while size < SIZE_BYTES:
        number = len(rows)
        row = f"<div style='border:1px solid #{number % 4096:03x}'><h2>Item {number}</h2><p>A line of text.</p></div>\n"
        rows.append(row)
        size += len(row)
    return "".join(rows).encode()[:SIZE_BYTES]


class PageServer:
    """Serves it at `url`."""

    def __init__(self) -> None:
        page = _html()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(page)))
                self.end_headers()
                self.wfile.write(page)

            def log_message(self, format: str, *_: Any) -> None:  # noqa: A002 - the base's name
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    def close(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()
