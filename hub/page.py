"""The page at /: boxes and last tasks, read-only. It holds no data itself: its script asks the API with the
visitor's key, which stays in the browser (typed in, or after # in the address, which no browser sends)."""

from pathlib import Path
from typing import Final

from fastapi import Response

_FOLDER: Final = Path(__file__).parent
_HEADERS: Final = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cache-control": "no-cache",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
FILES: Final = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}


def page_file(path: str) -> Response:
    """One of the page's files."""
    name, media_type = FILES[path]
    return Response((_FOLDER / name).read_bytes(), headers=_HEADERS, media_type=media_type)
