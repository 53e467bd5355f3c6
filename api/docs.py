"""Swagger UI from an installed package: the documentation works without internet."""

from importlib.resources import files
from pathlib import Path

from fastapi import FastAPI
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response

_ASSETS = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}

# Every reference is relative, so that it also works behind a proxy, under any host name and path.
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>framehouse API</title>
<link rel="icon" href="docs/favicon-32x32.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""

# Swagger UI would by default have a validator on the internet judge the document.
_START = """SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  validatorUrl: null,
  deepLinking: true,
  displayRequestDuration: true,
  filter: true,
});
"""

# Nothing from elsewhere is loaded or asked, whatever a newer Swagger UI would like.
_POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
)


def install(app: FastAPI) -> None:
    """Serve the documentation at /docs; / leads there."""
    resources = Path(str(files("fastapi_swagger") / "resources"))
    headers = {"content-security-policy": _POLICY, "x-content-type-options": "nosniff"}

    @app.get("/", include_in_schema=False)
    async def root() -> Response:
        return RedirectResponse("docs")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(_PAGE, headers=headers)

    @app.get("/docs/start.js", include_in_schema=False)
    async def start() -> Response:
        return Response(_START, media_type="text/javascript", headers=headers)

    for name, kind in _ASSETS.items():
        _serve(app, f"/docs/{name}", resources / name, kind, headers)


def _serve(app: FastAPI, path: str, file: Path, kind: str, headers: dict[str, str]) -> None:
    @app.get(path, include_in_schema=False)
    async def asset() -> Response:
        return FileResponse(file, media_type=kind, headers=headers)
