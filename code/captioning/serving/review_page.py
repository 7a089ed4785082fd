"""The page of `captioning review`: a small server for this machine only, and what it answers.

The page asks for rows, orders and replacements, and shows them; what they are is `review.Review`'s to say.
"""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from captioning.data.pictures import read_picture
from captioning.serving.review import CHECKS, ORDERS, Replacement, Review
from captioning.writing import dumps

HOST = "127.0.0.1"
SIDES = (320, 1600)  # pixels of a picture in its row, and alone


class Json(JSONResponse):
    """Also of text that is not whole Unicode, as file names and captions of unknown bytes are."""

    def render(self, content: object) -> bytes:
        return dumps(content).encode()


def build(review: Review) -> Starlette:
    """The application. It answers to the names of this machine only, and to JSON only where it is to change something,
    which no other page in the browser can send."""

    def index(request: Request) -> Response:
        return HTMLResponse(files("captioning.serving").joinpath("review.html").read_text(encoding="utf-8"))

    async def rows(request: Request) -> Response:
        about = {"folder": review.folder.resolve().name, "checks": CHECKS, "orders": orders(review)}
        return Json(about | changed(review, range(len(review.entries))))

    async def shown(request: Request) -> Response:
        return Json(review.shown(**request.query_params))

    async def edit(request: Request) -> Response:
        captions = {int(number): text for number, text in (await body(request)).items()}
        return Json(changed(review, review.edit(captions)))

    async def replace(request: Request) -> Response:
        asked = await body(request)
        numbers, apply = asked.pop("numbers"), asked.pop("apply")
        found = review.replaced(numbers, Replacement(**asked))
        if not apply:
            return Json([{"number": number, "pieces": pieces} for number, pieces in found.items()])
        captions = {number: "".join(new for _, new in pieces) for number, pieces in found.items()}
        return Json(changed(review, review.edit(captions)))

    async def discard(request: Request) -> Response:
        await body(request)
        changes = {number: entry.before for number, entry in enumerate(review.entries) if entry.caption != entry.before}
        return Json(changed(review, review.edit(changes)))

    async def save(request: Request) -> Response:
        await body(request)
        edited = [number for number, entry in enumerate(review.entries) if entry.edited]
        return Json({"saved": review.save()} | changed(review, edited))

    def picture(request: Request) -> Response:
        entry, side = review.entries[request.path_params["number"]], SIDES[request.path_params["size"]]
        content = jpeg(str(review.folder / entry.name), side)
        return Response(content, media_type="image/jpeg", headers={"Cache-Control": "no-store"})

    changing = [Route(f"/{each.__name__}", each, methods=["POST"]) for each in (edit, replace, discard, save)]
    asking = [Route("/", index), Route("/rows", rows), Route("/shown", shown)]
    return Starlette(
        routes=[*asking, *changing, Route("/picture/{number:int}/{size:int}", picture)],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])],
        exception_handlers={ValueError: refused, OSError: refused},
    )


async def body(request: Request) -> dict:
    if request.headers.get("content-type") != "application/json":
        raise HTTPException(415, "expected application/json")
    return await request.json()


def refused(request: Request, error: Exception) -> Response:
    return Json({"error": str(error)}, 409)


def changed(review: Review, numbers: range | list[int]) -> dict:
    return {"rows": [review.row(number) for number in numbers], "counts": review.counts()}


def orders(review: Review) -> dict[str, str]:
    """The orders for which something is known."""
    known = {"unlikely": any(entry.log_probability is not None for entry in review.entries)}
    known |= {"disputed": any(entry.others for entry in review.entries)}
    return {name: said for name, said in ORDERS.items() if known.get(name, True)}


def jpeg(file: str, side: int) -> bytes:
    """A picture that fits into a square. Raises BrokenPicture."""
    picture, written = read_picture(file, side), io.BytesIO()
    picture.thumbnail((side, side))
    picture.save(written, "JPEG", quality=80)
    return written.getvalue()


@contextmanager
def serving(review: Review, port: int | None = None) -> Iterator[str]:
    """The server, for as long as the context lasts; gives its address. Raises OSError when the port is taken."""
    with socket.socket() as door:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind((HOST, port or 0))
        server = uvicorn.Server(uvicorn.Config(build(review), log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [door]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield f"http://{HOST}:{door.getsockname()[1]}/"
        finally:
            server.should_exit = True
            thread.join()
