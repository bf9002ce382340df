"""A small site on the box's own machine, one page of which keeps its visitor waiting."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PAGE = b'<title>Shop</title><h1>Goods</h1><input id=q><button onclick="document.title=q.value">Go</button>'


class Shop:
    """A shop on the box's machine; /slow answers when it is told to."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.asked = threading.Event()
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/slow":
                    site.asked.set()
                    site.go.wait(60)
                self.send_response_only(200)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(PAGE)))
                self.end_headers()
                self.wfile.write(PAGE)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"

    def close(self) -> None:
        """End it."""
        self.go.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
