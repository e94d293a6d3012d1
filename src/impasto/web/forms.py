"""What a request brings: fields and files, as a form or as the bytes of one picture."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.datastructures import UploadFile
from starlette.requests import Request

from impasto.web.refusal import Refusal, too_large
from impasto.web.settings import ServeConfig

MOST_FIELDS = 32
FIELD_BYTES = 16 << 10
RAW = ("image/", "application/octet-stream")
"""Beginnings of the types of a body that is a picture."""


@dataclass(frozen=True, slots=True)
class Form:
    """Fields, and files by the fields that they came in; what clients call them is left behind."""

    fields: Mapping[str, str]
    files: Mapping[str, list[bytes]] = field(default_factory=dict)

    def file(self, name: str) -> bytes | None:
        """The only file of a field; None where there is none."""
        found = self.files.get(name, [])
        if len(found) > 1:
            raise Refusal(422, "wrong_value", f"{name} came {len(found)} times; send one")
        return found[0] if found else None


async def read_form(request: Request, settings: ServeConfig, *, files: int) -> Form:
    """Form of a request with at most so many files; raises Refusal for what is none, or too large."""
    kind = request.headers.get("content-type", "").lower()
    if kind.startswith("multipart/form-data"):
        return await read_multipart(request, settings, files)
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


async def read_multipart(request: Request, settings: ServeConfig, files: int) -> Form:
    """A form in parts."""
    fields: dict[str, str] = dict(request.query_params)
    found: dict[str, list[bytes]] = {}
    async with request.form(max_files=files, max_fields=MOST_FIELDS, max_part_size=FIELD_BYTES) as form:
        for name, value in form.multi_items():
            if not isinstance(value, UploadFile):
                fields[name] = value
                continue
            if (value.size or 0) > settings.upload_bytes:
                raise too_large(f"the file of {name[:40]!r}", f"{settings.upload_mb:g} MB")
            data = await value.read()
            if not data:
                raise Refusal(422, "wrong_value", f"the file of {name[:40]!r} is empty")
            found.setdefault(name, []).append(data)
    return Form(fields, found)
