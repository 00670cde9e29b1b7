"""A small page of an index, for one computer: drop an image, see the cases that look like it."""

import functools
import socket
import tempfile
import threading
from pathlib import Path
from typing import Any

from medjax.data import images
from medjax.errors import UserError
from medjax.index.case_index import CaseIndex
from medjax.index.conditions import parse_conditions
from medjax.outputs.base import ImageHints
from medjax.page import cases as page
from medjax.page.parts import embed_bytes
from medjax.typing import Json

_MOST_CASES = 50  # of an answer
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_LOCAL = ("localhost", "127.0.0.1", "[::1]")
_EVERYWHERE = ("0.0.0.0", "::")


def make_app(index: CaseIndex, *, name: str, host: str, limit_bytes: int, hints: ImageHints) -> Any:
    """The application (ASGI).

    Args:
      name: of the index, for its page.
      host: that it is served at: requests for another one are refused, so that a page of a stranger
        that a browser here has open cannot ask.
      limit_bytes: of an image that is sent.
      hints: of what images do not say themselves.
    """
    try:
        from starlette.applications import Starlette
        from starlette.middleware import Middleware
        from starlette.middleware.trustedhost import TrustedHostMiddleware
        from starlette.routing import Route
    except ImportError:
        raise UserError("a page needs starlette and uvicorn; pip install 'medjax[index]'") from None
    desk = QueryDesk(index, name, limit_bytes, hints)
    hosts = ["*"] if host in _EVERYWHERE else [*dict.fromkeys((host, *_LOCAL))]
    return Starlette(
        routes=[
            Route("/", desk.show_page),
            Route("/index.js", functools.partial(_send_file, kind="text/javascript")),
            Route("/index.css", functools.partial(_send_file, kind="text/css")),
            Route("/search", desk.search, methods=["POST"]),
            Route("/pictures/{number:int}.png", desk.show_picture),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts)],
    )


async def _send_file(request: Any, *, kind: str) -> Any:
    from starlette.responses import Response

    content = (page.FOLDER / Path(request.url.path).name).read_bytes()
    return Response(content, media_type=kind, headers=_HEADERS)


class QueryDesk:
    """What answers requests; one question at a time is answered."""

    def __init__(self, index: CaseIndex, name: str, limit_bytes: int, hints: ImageHints):
        self._index, self._name, self._hints = index, name, hints
        self._limit_bytes, self._lock = limit_bytes, threading.Lock()

    async def show_page(self, request: Any) -> Any:
        """The page, with filters for the metadata that there are now."""
        from starlette.responses import HTMLResponse

        return HTMLResponse(await _in_thread(self._render), headers=_HEADERS)

    def _render(self) -> str:
        with self._lock:
            return page.render_index(
                name=self._name,
                cases=f"{len(self._index):,} cases",
                distance=self._index.settings.distance,
                facts=self._index.count_facts(),
            )

    async def show_picture(self, request: Any) -> Any:
        """The picture of a case."""
        from starlette.responses import Response

        content = await _in_thread(self._read_picture, request.path_params["number"])
        if content is None:
            return Response(status_code=404, headers=_HEADERS)
        return Response(content, media_type="image/png", headers=_HEADERS)

    def _read_picture(self, number: int) -> bytes | None:
        with self._lock:
            return self._index.read_picture(number)

    async def search(self, request: Any) -> Any:
        """The cases that look like the image in the body, as JSON; or an error."""
        from starlette.responses import JSONResponse

        status, answer = await self._answer(request)
        return JSONResponse(answer, status_code=status, headers=_HEADERS)

    async def _answer(self, request: Any) -> tuple[int, Json]:
        with tempfile.TemporaryDirectory() as folder:
            # Of the name only the suffix is used, which says what kind of file it is.
            suffix = images.suffix(Path(request.query_params.get("name", "")))
            path, size = Path(folder, "image" + suffix * (suffix in images.SUFFIXES)), 0
            with path.open("wb") as file:
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > self._limit_bytes:
                        limit = f"{self._limit_bytes / 1e6:g} MB"
                        return 413, {"error": f"The image is larger than {limit} (--limit_mb)."}
                    file.write(chunk)
            try:
                return 200, await _in_thread(self._find, path, request.query_params)
            except UserError as e:
                return 400, {"error": str(e).replace(f"{folder}/", "")}

    def _find(self, path: Path, asked: Any) -> Json:
        where = parse_conditions(asked.getlist("where"))
        k = asked.get("k", "5")
        if not k.isdecimal() or not 1 <= int(k) <= _MOST_CASES:
            raise UserError(f"cases: give a number from 1 to {_MOST_CASES}")
        with self._lock:
            index = self._index
            answer = index.look_up(
                path, k=int(k), where=where, subject_id=asked.get("subject", ""), hints=self._hints
            )
            lacking = index.count_lacking(where)
        return {
            "cases": [{**c._asdict(), "facts": _show_facts(c.facts)} for c in answer.cases],
            "picture": embed_bytes(answer.picture),
            "notes": [f"{n:,} without {name} passed over" for name, n in lacking.items() if n]
            + [f"{answer.same:,} with the same file passed over"] * bool(answer.same),
        }


def _show_facts(facts: Any) -> dict[str, str]:
    return {name: page.plain_fact(value) for name, value in facts.items()}


async def _in_thread(function: Any, *arguments: Any) -> Any:
    """What waits must not hold up the others."""
    from starlette.concurrency import run_in_threadpool

    return await run_in_threadpool(function, *arguments)


def serve(app: Any, *, host: str, port: int) -> None:
    """Serves the page until the process is interrupted.

    Args:
      port: 0: a free one.

    Raises:
      UserError: if the port is taken.
    """
    import uvicorn

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen()  # so that who reads the address can connect
        except OSError as e:
            raise UserError(f"`port={port}`: cannot be used ({e.strerror}); name another") from None
        shown = f"[{host}]" if ":" in host else host
        print(f"serving http://{shown}:{listener.getsockname()[1]}/  (Ctrl-C ends it)", flush=True)
        if host not in _LOCAL:
            print("note: who reaches this address sees the pictures of all cases", flush=True)
        config = uvicorn.Config(app, log_level="warning", access_log=False)
        uvicorn.Server(config).run(sockets=[listener])
