"""The caption page: the files of page/, read once, as the routes `/` and `/page/NAME`."""

import hashlib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from earshot_asr.server.handshake import Page

FOLDER = Path(__file__).parent / "page"
INDEX = "index.html"
CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""Files of other kinds are not served."""
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""Nothing but what comes from this server is loaded, connected to, or run."""
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
    "Access-Control-Allow-Origin": "*",  # pages that the gate lets in may import the modules
}


@cache
def routes() -> Mapping[str, Callable[[], Page]]:
    """Path -> what makes the page there."""
    paths = {file: f"/page/{file.name}" for file in sorted(FOLDER.iterdir()) if file.suffix in CONTENT_TYPES}
    paths[FOLDER / INDEX] = "/"
    return {path: _serving(file) for file, path in paths.items()}


def _serving(file: Path) -> Callable[[], Page]:
    body = file.read_bytes()
    tag = {"ETag": f'"{hashlib.sha256(body).hexdigest()[:16]}"'}
    page = Page(body, content_type=CONTENT_TYPES[file.suffix], headers=HEADERS | tag)
    return lambda: page
