"""Files that come with the package: the page, and the documentation of the interface."""

import hashlib
import html
import mimetypes
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from autopeft.api.envelope import POLICY
from autopeft.api.problems import CODES, DOCS

_TYPES = {".js": "text/javascript", ".svg": "image/svg+xml", ".css": "text/css"}
_SWAGGER = ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png")
# Swagger UI writes styles into its elements and draws with data: addresses; scripts are ours alone.
_DOCS_POLICY = f"{POLICY}; style-src 'self' 'unsafe-inline'; img-src 'self' data:"
_START = """\
window.addEventListener("load", () => {
  SwaggerUIBundle({
    url: document.body.dataset.openapi,
    dom_id: "#swagger-ui",
    deepLinking: true,
    validatorUrl: null,
    presets: [SwaggerUIBundle.presets.apis, SwaggerUIBundle.SwaggerUIStandalonePreset],
  });
});
"""
_DOCS_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>autopeft: the interface</title>
<link rel="icon" href="docs/favicon.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</head>
<body data-openapi="openapi.json"><div id="swagger-ui"></div></body>
</html>
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file in memory: its bytes, their digest, and how long a browser may keep it."""

    content: bytes
    media_type: str
    kept: str = "no-cache"
    policy: str | None = None

    @property
    def etag(self) -> str:
        """What changes with the content."""
        return f'"{hashlib.sha256(self.content).hexdigest()[:32]}"'


def add_static(app: FastAPI) -> None:
    """Serve the page at ``/``, and ``/docs``, without anything from another place."""
    for path, file in {**_page(), **_docs()}.items():
        app.router.add_route(path, _serving(file), methods=["GET"], include_in_schema=False)


def _serving(file: File) -> Callable[[Request], Awaitable[Response]]:
    headers = {"ETag": file.etag, "Cache-Control": file.kept}
    if file.policy:
        headers["Content-Security-Policy"] = file.policy

    async def serve(request: Request) -> Response:
        if headers["ETag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(file.content, media_type=file.media_type, headers=headers)

    return serve


def _page() -> Mapping[str, File]:
    folder = Path(str(resources.files("autopeft.api.page")))
    found = {
        f"/{path.relative_to(folder).as_posix()}": _read(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix not in {".py", ".pyc"}
    }
    index = found.get("/index.html")
    if index is None:
        return found
    fresh = File(content=index.content, media_type=index.media_type, kept="no-store")
    return {**found, "/": fresh, "/index.html": fresh}


def _docs() -> dict[str, File]:
    folder = Path(str(resources.files("fastapi_offline"))) / "static"
    assets = {f"/docs/{name}": _read(folder / name) for name in _SWAGGER}
    return {
        **assets,
        "/docs": _html(_DOCS_PAGE, _DOCS_POLICY),
        "/docs/start.js": File(content=_START.encode(), media_type=_TYPES[".js"]),
        DOCS: _html(_problems(), None),
    }


def _read(path: Path) -> File:
    media_type = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0]
    return File(content=path.read_bytes(), media_type=media_type or "application/octet-stream")


def _html(text: str, policy: str | None) -> File:
    return File(content=text.encode(), media_type="text/html", policy=policy)


def _problems() -> str:
    """Write the page that the ``type`` of a problem links to."""
    entries = "\n".join(
        f'<dt id="{name}"><code>{name}</code> {code.status}: {html.escape(code.title)}</dt>'
        f"<dd>{html.escape(code.remedy)}</dd>"
        for name, code in CODES.items()
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
        "<title>autopeft: what can go wrong</title></head>\n<body>\n<h1>What can go wrong</h1>\n"
        "<p>Every error is a problem of RFC 9457 with a <code>code</code>, the field to look at "
        "as <code>param</code>, all that are wrong as <code>errors</code>, and a "
        "<code>remedy</code>.</p>\n"
        f"<dl>\n{entries}\n</dl>\n</body>\n</html>\n"
    )
