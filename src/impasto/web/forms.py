"""What a request brings: fields and files, as a form or as the bytes of one picture or video.

A video goes to a file as it comes: it is never in memory as a whole.
"""

import asyncio
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from starlette.datastructures import UploadFile
from starlette.requests import Request

from impasto.web.refusal import Refusal, too_large, wrong
from impasto.web.settings import ServeConfig

MOST_FIELDS = 32
FIELD_BYTES = 16 << 10
RAW = ("image/", "application/octet-stream")
"""Beginnings of the types of a body that is a picture."""
VIDEO = "video"
"""Field of a video."""
PIECE = 1 << 20
"""Bytes of a video that are moved at a time."""


@dataclass(frozen=True, slots=True)
class Form:
    """Fields, and files by the fields that they came in; what clients call them is left behind."""

    fields: Mapping[str, str]
    files: Mapping[str, list[bytes]] = field(default_factory=dict)
    videos: int = 0
    """How many have come; the last is in the file that was named for it."""

    @property
    def counts(self) -> dict[str, int]:
        """How many files came in each field."""
        return {name: len(files) for name, files in self.files.items()} | ({VIDEO: self.videos} if self.videos else {})

    def file(self, name: str) -> bytes | None:
        """The only file of a field; None where there is none."""
        found = self.files.get(name, [])
        if len(found) > 1:
            raise wrong(name, f"came {len(found)} times; send one")
        return found[0] if found else None


async def read_form(request: Request, settings: ServeConfig, *, files: int, video: Path | None = None) -> Form:
    """Form of a request with at most so many files; raises Refusal for what is none, or too large.

    `video`: where one is written; None where there is to be none.
    """
    kind = request.headers.get("content-type", "").lower()
    if kind.startswith("multipart/form-data"):
        return await read_multipart(request, settings, files, video)
    if kind.startswith("video/") and video is not None:
        await read_video(request, settings, video)
        return Form(dict(request.query_params), videos=1)
    if kind.startswith(RAW):
        return Form(dict(request.query_params), {"photo": [await read_body(request, settings)]})
    if kind.startswith("application/x-www-form-urlencoded") or not kind:
        raise Refusal(
            415, "wrong_type", "send multipart/form-data with a file, or a picture with its type, as image/jpeg"
        )
    raise Refusal(
        415, "wrong_type", f"{kind[:60]!r} is not taken; send multipart/form-data, or a picture with its type"
    )


async def read_body(request: Request, settings: ServeConfig) -> bytes:
    """A body that is a picture."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > settings.upload_bytes:
            raise too_large("the picture", f"{settings.upload_mb:g} MB")
    if not data:
        raise Refusal(422, "wrong_value", "the request has no picture in it")
    return bytes(data)


async def read_video(request: Request, settings: ServeConfig, path: Path) -> None:
    """Write a body that is a video to a file."""
    size = 0
    with path.open("wb") as stream:
        async for chunk in request.stream():
            size += len(chunk)
            if size > settings.video_bytes:
                raise too_large("the video", f"{settings.video_mb:g} MB")
            await asyncio.to_thread(stream.write, chunk)
    if not size:
        raise Refusal(422, "wrong_value", "the request has no video in it")


async def read_multipart(request: Request, settings: ServeConfig, files: int, video: Path | None) -> Form:
    """A form in parts; what is larger than a megabyte waits in a file of the system's."""
    fields: dict[str, str] = dict(request.query_params)
    found: dict[str, list[bytes]] = {}
    videos = 0
    async with request.form(max_files=files, max_fields=MOST_FIELDS, max_part_size=FIELD_BYTES) as form:
        for name, value in form.multi_items():
            if not isinstance(value, UploadFile):
                fields[name] = value
                continue
            target = video if name == VIDEO else None
            largest = settings.upload_mb if target is None else settings.video_mb
            if (value.size or 0) > largest * 1e6:
                raise too_large(f"the file of {name[:40]!r}", f"{largest:g} MB")
            if not value.size:
                raise wrong(f"the file of {name[:40]!r}", "is empty")
            if target is not None:
                videos += 1
                await asyncio.to_thread(write_video, value, target)
            else:
                found.setdefault(name, []).append(await value.read())
    return Form(fields, found, videos)


def write_video(upload: UploadFile, path: Path) -> None:
    """Copy an upload to a file."""
    with path.open("wb") as stream:
        shutil.copyfileobj(upload.file, stream, PIECE)
