"""Playwright's own trace viewer, as its package brings it, at /trace-viewer/: static files, read only.

It runs in the hub's origin, and a trace shows pages that anybody may have written. The viewer renders them without
scripts; its policy keeps them from loading anything from elsewhere, and there is nothing in this origin to steal: no
cookies, and the page at / keeps the visitor's key to its own tab.
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from fastapi import Response
from starlette.concurrency import run_in_threadpool

from hub.errors import not_found

PATH: Final = "/trace-viewer/"
_PLACE: Final = Path("driver", "package", "lib", "vite", "traceViewer")
_HEADERS: Final = {
    "cache-control": "no-cache",
    "content-security-policy": "default-src 'self' 'unsafe-inline' blob: data:; script-src 'self' 'wasm-unsafe-eval'; "
    "connect-src 'self' blob: data:; base-uri 'none'; form-action 'none'; object-src 'none'; frame-ancestors 'self'",
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
_MEDIA_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".ttf": "font/ttf",
    ".webmanifest": "application/manifest+json",
}


@cache
def _files() -> dict[str, Path]:
    """What there is to serve, by its path. The package is found without being loaded."""
    spec = find_spec("playwright")
    roots = [] if spec is None else [Path(place, _PLACE) for place in spec.submodule_search_locations or ()]
    found = {path.relative_to(root).as_posix(): path for root in roots for path in root.rglob("*") if path.is_file()}
    return found | ({"": found["index.html"]} if "index.html" in found else {})


async def file(path: str) -> Response:
    """One of the viewer's files; 404 where there is none, or no viewer is installed."""
    found = _files().get(path)
    if found is None or found.suffix not in _MEDIA_TYPES:
        raise not_found("file of the trace viewer", path[:80], "it begins at /trace-viewer/")
    content = await run_in_threadpool(found.read_bytes)
    return Response(content, headers=_HEADERS, media_type=_MEDIA_TYPES[found.suffix])
