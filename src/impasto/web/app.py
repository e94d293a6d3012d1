"""The application: which address answers what."""

import asyncio
import contextlib
import gc
import io
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.routing import Match

import impasto
from impasto.images import Picture, fit, write_image
from impasto.paintings import available
from impasto.styles import builtin_styles, zoo
from impasto.web import documents
from impasto.web.forms import VIDEO, Form, read_form
from impasto.web.guard import FORM_BYTES, Guard
from impasto.web.jobs import Jobs
from impasto.web.live import Live
from impasto.web.metrics import Metrics
from impasto.web.options import FIELDS, PAINTING, parse
from impasto.web.painter import Decoded, Painter
from impasto.web.refusal import Refusal, check_known, check_sent, wrong
from impasto.web.settings import ServeConfig
from impasto.web.store import Store
from impasto.web.videos import STYLE, check_video
from impasto.web.workers import Processes
from impasto.web.works import KINDS, MOST_PHOTOS, check_request, kind_of

STATIC = Path(__file__).with_name("static")
FILES = ("photo", "mask", PAINTING)
"""Of a request for a painting."""
THUMBNAIL = 256
"""Long side of a thumbnail in pixels."""
SIDES = 2
"""Times the largest side that a job paints: more of a photo or a painting is not kept for it."""


class Service:
    """What the application holds."""

    def __init__(self, settings: ServeConfig, processes: Processes) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.painter = Painter(settings, self.metrics, processes)
        self.store = Store(settings.data, settings.disk_gb * 1e9)
        self.jobs = Jobs(settings, self.store, self.metrics)
        self.live = Live(settings, self.painter, self.jobs.styles_of)
        self.thumbnails: dict[str, bytes] = {}
        self.painting = {name: asyncio.Lock() for name in builtin_styles()}
        """Held while a style's thumbnail is painted."""

    async def thumbnail(self, name: str) -> bytes:
        """A built-in style's, painted once, when it is first wanted."""
        if name not in self.painting:
            raise Refusal(404, "unknown_style", "there is no such style")
        async with self.painting[name]:
            if name not in self.thumbnails:
                options = parse({"style": name, "size": str(THUMBNAIL), "quality": "85"}, {})
                painted = await self.painter.paint((zoo() / "sample.jpg").read_bytes(), options)
                self.thumbnails[name] = painted.data
        return self.thumbnails[name]

    async def submit(self, request: Request) -> dict[str, Any]:
        """Queue the job that a request asks for; returns what its owner is told."""
        owner, client = request.state.owner, request.client.host if request.client else ""
        stated = int(request.headers.get("content-length") or self.settings.job_bytes + FORM_BYTES)
        with self.jobs.place(owner, client, 2 * stated):  # what is taken from a form is there twice
            folder = self.store.new()
            try:
                form = await read_form(request, self.settings, files=MOST_PHOTOS + 4, video=folder / VIDEO)
                name, order = await self.order(folder, form, owner)
                return self.jobs.told(self.jobs.submit(folder, name, order, owner, client))
            except BaseException:
                self.store.remove(folder)
                raise

    async def order(self, folder: Path, form: Form, owner: str) -> tuple[str, dict[str, Any]]:
        """Kind and order of the job that a form asks for, whose pictures are put into a folder."""
        fields = dict(form.fields)
        name = fields.pop("kind", "")
        kind = kind_of(name)
        check_request(kind, fields, form.counts)
        self.store.check_room(8 * sum(len(data) for files in form.files.values() for data in files))
        files = {role: [f"{role}-{i}.png" for i in range(1, 1 + len(data))] for role, data in form.files.items()}
        order = kind.order(fields, files, self.settings, self.jobs.styles_of(owner))
        if form.videos:
            async with self.painter.turns.turn():
                check_video(await self.painter.probe(folder / VIDEO), self.settings)
        if order.get("own"):
            await asyncio.to_thread(shutil.copyfile, order["file"], folder / STYLE)
        for role, names in files.items():
            for file, data in zip(names, form.files[role], strict=True):
                inside = "photos" if name == "training" and role == "photo" else ""
                await self.keep(folder / inside / file, data, role)
        return name, order

    async def keep(self, path: Path, data: bytes, role: str) -> None:
        """Write an upload as a picture of our own making, no larger than is of use."""
        async with self.painter.turns.turn(len(data) / 1e6):
            decoded = await self.painter.decode(data, role)
        await asyncio.to_thread(write_small, path, decoded, SIDES * self.settings.largest_optimisation)


def write_small(path: Path, decoded: Decoded, side: int) -> None:
    """Write pixels as PNG, reduced to a long side."""
    values, area = np.frombuffer(decoded.data, np.uint8), decoded.height * decoded.width
    if len(values) == area:  # a mask has its lightness alone
        pixels = np.repeat(values, 3).reshape(*decoded.size, 3)
    else:
        pixels = values[: 3 * area].reshape(*decoded.size, 3)
    path.parent.mkdir(exist_ok=True)
    stream = io.BytesIO()
    write_image(stream, fit(Picture(pixels), side), format="png")
    path.write_bytes(stream.getbuffer())


def create_app(settings: ServeConfig | None = None, processes: Processes | None = None) -> FastAPI:
    """Make the application of a server; its `state.service` is what it holds.

    `processes`: those that decode and paint, where they have been started already.

    Raises:
        ImpastoError: The folder for the files of jobs cannot be made.

    """
    settings = settings or ServeConfig()
    service = Service(settings, processes or Processes(settings))

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        starting = asyncio.create_task(service.painter.start())
        service.jobs.start()
        gc.freeze()  # what is loaded stays: looking through it again and again would hold up /health
        try:
            yield
        finally:
            await service.jobs.stop()
            await asyncio.to_thread(service.painter.close)
            starting.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await starting
            service.store.close()

    app = FastAPI(
        title="Impasto",
        summary="Photographs into paintings.",
        version=impasto.__version__,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        responses=documents.FAILURES,
    )
    app.state.service = service
    app.add_middleware(Guard, settings=service.settings, metrics=service.metrics)
    app.add_exception_handler(Refusal, refuse)
    app.add_exception_handler(HTTPException, refuse_http)
    add_pages(app)
    add_state(app, service)
    add_painting(app, service)
    add_jobs(app, service)
    return app


async def refuse(_request: Request, error: Exception) -> Response:
    """Answer to a refusal."""
    assert isinstance(error, Refusal)  # noqa: S101 - that is what it is registered for
    return error.response()


async def refuse_http(request: Request, error: Exception) -> Response:
    """Answer to what the framework refuses: unknown addresses, wrong methods, forms that are none."""
    assert isinstance(error, HTTPException)  # noqa: S101
    headers = dict(error.headers or {})
    if error.status_code == 404:
        refusal = Refusal(404, "not_found", "there is nothing at this address; /openapi.json tells what there is")
    elif error.status_code == 405:
        headers["Allow"] = allowed = methods_of(request) or headers.get("Allow", "")
        refusal = Refusal(405, "wrong_method", f"this address takes {allowed}, not {request.method[:20]}")
    else:
        told = str(error.detail).rstrip(".")
        refusal = Refusal(
            error.status_code, "bad_request", f"the form cannot be read ({told}); send it as curl -F does"
        )
    answer = refusal.response()
    answer.headers.update(headers)
    return answer


def methods_of(request: Request) -> str:
    """Methods that a request's address takes, those of all its routes."""
    routes = [route for route in request.app.routes if route.matches(request.scope)[0] is Match.PARTIAL]
    return ", ".join(sorted({method for route in routes for method in route.methods}))


def add_pages(app: FastAPI) -> None:
    """The page and what it is made of."""
    app.mount("/static", StaticFiles(directory=STATIC), name="static")

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(STATIC / "index.html", media_type="text/html")

    @app.get("/favicon.ico", include_in_schema=False)
    async def icon() -> FileResponse:
        return FileResponse(STATIC / "icon.svg", media_type="image/svg+xml")

    @app.get("/v1/sample", **documents.SAMPLE)
    async def sample() -> FileResponse:
        return FileResponse(zoo() / "sample.jpg", media_type="image/jpeg")


def add_state(app: FastAPI, service: Service) -> None:
    """What tells how the server is."""

    @app.get("/health", **documents.HEALTH)
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/ready", **documents.READY)
    async def ready() -> JSONResponse:
        is_ready = service.painter.is_ready and not service.jobs.stopping
        return JSONResponse({"status": "ready" if is_ready else "not ready"}, 200 if is_ready else 503)

    @app.get("/metrics", **documents.METRICS)
    async def metrics() -> Response:
        service.jobs.measure()
        service.metrics.waiting.set(len(service.painter.turns.waiting))
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")

    @app.get("/v1/info", **documents.INFO)
    async def info() -> dict[str, Any]:
        limits = service.settings
        return {
            "version": impasto.__version__,
            "jobs": {name: kind.is_installed for name, kind in KINDS.items()},
            "has_photos": limits.photos is not None,
            "engines": available(),
            "limits": {
                "upload_mb": limits.upload_mb,
                "job_mb": limits.job_mb,
                "megapixels": limits.megapixels,
                "max_side": limits.max_side,
                "video_mb": limits.video_mb,
                "video_megapixels": limits.video_megapixels,
                "video_minutes": limits.video_minutes,
                "largest_video": limits.largest_video,
                "photos": MOST_PHOTOS,
                "longest_training": limits.longest_training,
                "largest_optimisation": limits.largest_optimisation,
                "keep_minutes": limits.keep_minutes,
            },
        }


def add_painting(app: FastAPI, service: Service) -> None:
    """What paints at once."""

    @app.get("/v1/styles", **documents.STYLES)
    async def styles(request: Request) -> list[dict[str, Any]]:
        keys = ("title", "artist", "year", "rights", "strength")
        built_in = [
            {"name": name, **{key: entry[key] for key in keys}, "own": False}
            for name, entry in builtin_styles().items()
        ]
        own = service.jobs.styles_of(request.state.owner)
        empty = dict.fromkeys(("artist", "year", "rights"), "") | {"strength": 1.0}
        return [*built_in, *({"name": job, "title": name, **empty, "own": True} for job, (_, name) in own.items())]

    @app.get("/v1/styles/{name}/thumbnail", **documents.THUMBNAIL)
    async def thumbnail(name: str) -> Response:
        data = await service.thumbnail(name)
        return Response(data, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"})

    @app.post("/v1/stylize", **documents.STYLIZE)
    async def stylize(request: Request) -> Response:
        form = await read_form(request, service.settings, files=len(FILES))
        check_sent(form.fields, form.files, FIELDS, FILES)
        check_known(form.files, FILES, "file")
        photo, mask, painting = map(form.file, FILES)
        if photo is None:
            raise wrong("photo", "is missing; send it as a file of that name, with a mask or without")
        options = parse(form.fields, service.jobs.styles_of(request.state.owner), painting=painting is not None)
        painted = await service.painter.paint(photo, options, mask, painting, request.is_disconnected)
        name = f"painting.{options.format.replace('jpeg', 'jpg')}"
        headers = {
            "Content-Disposition": f'inline; filename="{name}"',
            "X-Impasto-Size": f"{painted.width}x{painted.height}",
            "X-Impasto-Seconds": f"{painted.seconds:.3f}",
        }
        return Response(painted.data, media_type=painted.media_type, headers=headers)

    @app.websocket("/v1/live")
    async def live(socket: WebSocket) -> None:
        await service.live.serve(socket)


def add_jobs(app: FastAPI, service: Service) -> None:
    """What takes longer than a request may."""
    jobs = service.jobs

    @app.post("/v1/jobs", status_code=202, **documents.SUBMIT)
    async def submit(request: Request) -> JSONResponse:
        if jobs.stopping:
            raise Refusal(429, "busy", "the server stops; try again later", retry_s=60)
        told = await service.submit(request)
        return JSONResponse(told, 202, {"Location": f"/v1/jobs/{told['id']}"})

    @app.get("/v1/jobs", **documents.JOBS)
    async def list_jobs(request: Request) -> list[dict[str, Any]]:
        return [jobs.told(job) for job in jobs.of(request.state.owner)]

    @app.get("/v1/jobs/{job_id}", **documents.SHOW)
    async def show(request: Request, job_id: str) -> dict[str, Any]:
        job = jobs.find(job_id, request.state.owner)
        return jobs.told(job) | {"curve": job.curve}

    @app.delete("/v1/jobs/{job_id}", status_code=204, **documents.CANCEL)
    async def cancel(request: Request, job_id: str) -> Response:
        await jobs.cancel(jobs.find(job_id, request.state.owner))
        return Response(status_code=204)

    @app.get("/v1/jobs/{job_id}/events", **documents.EVENTS)
    async def events(request: Request, job_id: str) -> StreamingResponse:
        job = jobs.find(job_id, request.state.owner)
        headers = {"X-Accel-Buffering": "no"}
        return StreamingResponse(jobs.events(job), media_type="text/event-stream", headers=headers)

    @app.get("/v1/jobs/{job_id}/picture", **documents.PICTURE)
    async def picture(request: Request, job_id: str) -> Response:
        path, kind = jobs.picture(jobs.find(job_id, request.state.owner))
        try:
            return Response(await asyncio.to_thread(path.read_bytes), media_type=kind)
        except OSError as error:  # replaced by the next one since
            raise Refusal(404, "no_picture", "there is no picture yet") from error

    @app.get("/v1/jobs/{job_id}/result", **documents.RESULT)
    async def result(request: Request, job_id: str) -> FileResponse:
        path, kind = jobs.result(jobs.find(job_id, request.state.owner))
        return FileResponse(path, media_type=kind, filename=path.name)
