"""Serves a folder of pages on the loopback, as a plain web server would."""

import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class Site:
    """A folder at `url`, from the start on until `close`; `/page` is `/page.html` where there is no such file."""

    def __init__(self, folder: Path) -> None:
        class Handler(SimpleHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # A browser keeps connections that it may never use again; each holds a thread.
            timeout = 30

            def __init__(self, *arguments: Any) -> None:
                super().__init__(*arguments, directory=str(folder))

            def translate_path(self, path: str) -> str:
                found = Path(super().translate_path(path))
                page = found.with_name(found.name + ".html")
                return str(page if not found.exists() and page.exists() else found)

            def log_message(self, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
