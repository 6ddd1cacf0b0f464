"""The pages that `gi serve` shows: the playground at /, the game at /game/, and the JavaScript client at /client/.

Plain files of this package: no build step, nothing loaded from elsewhere, and a content security policy that says so.
"""

from importlib.resources import files
from pathlib import Path
from typing import Final

from fastapi import FastAPI
from fastapi.responses import RedirectResponse
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

FOLDERS: Final = ("client", "examples", "game", "playground", "shared")
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: blob:; "
    "media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # asked again each time; unchanged files are not sent again
}


class Pages(StaticFiles):
    """Files of one folder, each with the headers above."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file, or 404."""
        response = await super().get_response(path, scope)
        response.headers.update(HEADERS)
        return response


def web_folder() -> Path:
    """Where the pages lie."""
    return Path(str(files("gi_serve") / "web"))


def install_pages(app: FastAPI) -> None:
    """Show the pages. Paths of the API go before."""
    for name in FOLDERS:
        app.mount(f"/{name}", Pages(directory=web_folder() / name, html=True, check_dir=False), name=name)

    @app.get("/", include_in_schema=False)
    async def show_playground() -> RedirectResponse:
        return RedirectResponse("playground/")
