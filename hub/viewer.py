"""Playwright's own trace viewer, as its package brings it, at /trace-viewer/: static files, read only.

It runs in the hub's origin, and a trace shows pages that anybody may have written. Playwright records them without
their scripts, but who makes a trace by hand can put some in. There is nothing in this origin for them to steal: no
cookie, no storage; the page at / keeps the visitor's key where no other page can read it, and a link shows its own
artifact alone.
"""

import base64
import hashlib
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from fastapi import Response
from starlette.concurrency import run_in_threadpool

from hub.errors import not_found

PATH: Final = "/trace-viewer/"
_PLACE: Final = Path("driver", "package", "lib", "vite", "traceViewer")
_POLICY: Final = (
    "default-src 'self' 'unsafe-inline' blob: data:; script-src 'self' 'wasm-unsafe-eval'{hashes}; "
    "connect-src 'self' blob: data:; base-uri 'none'; form-action 'none'; object-src 'none'; frame-ancestors 'self'"
)
_INLINE: Final = re.compile(rb"<script>(.*?)</script>", re.DOTALL)
_HEADERS: Final = {
    "cache-control": "no-cache",
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
    policy = _POLICY.format(hashes="".join(map(_hash, _INLINE.findall(content)))) if found.suffix == ".html" else ""
    headers = _HEADERS | {"content-security-policy": policy or _POLICY.format(hashes="")}
    return Response(content, headers=headers, media_type=_MEDIA_TYPES[found.suffix])


def _hash(script: bytes) -> str:
    """How a policy names a script that stands in the page itself."""
    return f" 'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'"
