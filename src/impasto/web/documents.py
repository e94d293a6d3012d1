"""What the OpenAPI document says of each address, with examples."""

from typing import Any

from impasto.choices import COLORS, ENGINES, STARTS
from impasto.config import ClipConfig
from impasto.styles import builtin_styles
from impasto.stylize import BROADEST, FINEST
from impasto.web.jobs import STATES
from impasto.web.options import MEDIA_TYPES
from impasto.web.works import KINDS

ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
        }
    },
    "example": {"error": {"code": "wrong_value", "message": "strength is '2'; it must be a number from 0 to 1"}},
}
PICTURE_FILE = {"type": "string", "format": "binary"}
JOB_ID = "job_5f1c0e3a9d5b4b0f8f6f7a2d1c3e4b5a"
Answers = dict[int | str, dict[str, Any]]


def refusals(*statuses: int) -> Answers:
    """Answers that say no, by status."""
    words = {
        400: "The request is not HTTP, or its form is broken",
        401: "The token is missing",
        403: "The request comes from a page of another site",
        404: "There is no such thing of yours",
        405: "Not with this method",
        408: "The request came too slowly",
        409: "It is not done yet",
        413: "Too large",
        415: "Neither a form nor a picture",
        421: "The server is not known by that name",
        422: "A field or a file cannot be used; the message says which and why",
        429: "Too much is waiting; Retry-After says when to try again",
        431: "The address or the headers are too long",
        503: "Not ready yet",
        504: "It took too long",
    }
    return {
        status: {"description": words[status], "content": {"application/json": {"schema": ERROR}}}
        for status in statuses
    }


FAILURES = refusals(400, 401, 421, 431)
CHANGES = refusals(403, 404, 408, 413, 415, 422, 429, 504)


def answers(kind: str, schema: dict[str, Any], description: str, example: Any = None) -> Answers:
    """The answer that says yes."""
    content = {"schema": schema} | ({} if example is None else {"example": example})
    return {200: {"description": description, "content": {kind: content}}}


def field(schema: dict[str, Any], description: str) -> dict[str, Any]:
    """A field of a form."""
    return schema | {"description": description}


FIELDS: dict[str, dict[str, Any]] = {
    "style": field(
        {"type": "string", "minLength": 1, "examples": ["starry_night", "candy:0.7,udnie:0.3"]},
        "a built-in style, a blend of several with weights, or the id of a training that is done; "
        "not where a painting comes",
    ),
    "engine": field({"type": "string", "enum": [*ENGINES]}, "what paints after the painting; the best one installed"),
    "strength": field({"type": "number", "minimum": 0, "maximum": 1}, "0 is the photo, 1 the painting"),
    "stroke": field(
        {"type": "number", "minimum": FINEST, "maximum": BROADEST}, "size of the strokes relative to the picture"
    ),
    "colors": field({"type": "string", "enum": [*COLORS], "default": "style"}, "whose colours"),
    "size": field(
        {"type": "integer", "minimum": 1, "maximum": 65535}, "long side to which a larger photo is reduced, in pixels"
    ),
    "format": field({"type": "string", "enum": [*MEDIA_TYPES], "default": "jpeg"}, "of the answer"),
    "quality": field({"type": "integer", "minimum": 1, "maximum": 100}, "of JPEG and WebP"),
}
VIDEO_FIELDS = ("style", "engine", "strength", "stroke", "quality")
"""That a video has beside those of other jobs."""
JOB_FIELDS: dict[str, dict[str, Any]] = {
    "kind": field({"type": "string", "enum": [*KINDS]}, "what to do"),
    "size": field(
        {"type": "integer", "minimum": 1},
        "optimisation: long side in pixels, 512 unless given; video: long side to which a larger one is reduced",
    ),
    "iterations": field({"type": "integer", "minimum": 1, "maximum": 1000}, "optimisation: at each size"),
    "style_weight": field({"type": "number", "minimum": 0}, "optimisation: weight of the style loss"),
    "content_weight": field({"type": "number", "minimum": 0}, "optimisation: weight of the content loss"),
    "style_scale": field({"type": "number", "minimum": 0.1, "maximum": 10}, "optimisation: size of the strokes"),
    "colors": field({"type": "string", "enum": [*COLORS]}, "optimisation, video: whose colours"),
    "init": field({"type": "string", "enum": [*STARTS]}, "optimisation: what it begins with"),
    "weights": field({"type": "string"}, "optimisation: of several paintings, as 0.7,0.3"),
    "name": field({"type": "string"}, "training: of the new style"),
    "minutes": field({"type": "number"}, "training: how long"),
    **{name: FIELDS[name] | {"description": f"video: {FIELDS[name]['description']}"} for name in VIDEO_FIELDS},
    "steady": field(
        {"type": "number", "minimum": 0, "maximum": 1, "default": ClipConfig.steady},
        "video: how firmly a frame holds on to the strokes of the last one",
    ),
}
JOB = {
    "type": "object",
    "required": ["id", "kind", "state", "progress", "error"],
    "properties": {
        "id": {"type": "string"},
        "kind": {"type": "string", "enum": [*KINDS]},
        "name": {"type": "string"},
        "state": {"type": "string", "enum": [*STATES]},
        "progress": {"type": "number", "minimum": 0, "maximum": 1},
        "step": {"type": "integer", "description": "of a video, frames that are painted"},
        "steps": {"type": ["integer", "null"]},
        "frames_per_second": {"type": "number"},
        "loss": {"type": ["number", "null"]},
        "content": {"type": ["number", "null"]},
        "style": {"type": ["number", "null"]},
        "seconds_left": {"type": ["number", "null"]},
        "has_picture": {"type": "boolean"},
        "ahead": {"type": "integer"},
        "error": {"type": "string"},
        "created": {"type": "number", "description": "seconds since 1970"},
        "expires": {"type": ["number", "null"], "description": "when its files are deleted, once it has ended"},
    },
    "example": {
        "id": JOB_ID,
        "kind": "video",
        "name": "starry_night",
        "state": "running",
        "progress": 0.4,
        "step": 120,
        "steps": 300,
        "frames_per_second": 9.4,
        "seconds_left": 19.1,
        "has_picture": True,
        "ahead": 0,
        "error": "",
        "created": 1763827200.0,
        "expires": None,
    },
}


def query(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """A field in the address, of a request whose body is the picture."""
    return {"name": name, "in": "query", "required": False, "schema": schema}


def form(properties: dict[str, Any], required: list[str], example: dict[str, Any]) -> dict[str, Any]:
    """A form in parts."""
    schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return {"multipart/form-data": {"schema": schema, "example": example}}


PICTURES = {kind: {"schema": PICTURE_FILE} for kind in ("image/jpeg", "image/png", "image/webp")}
STYLIZE: dict[str, Any] = {
    "summary": "Paint a photo",
    "description": "The photo comes in a form, or as the body with the fields in the address. In a form a painting may "
    "come in place of a style; GET /v1/info lists the engines that paint after one.",
    "responses": {200: {"description": "The painting", "content": PICTURES}} | CHANGES,
    "openapi_extra": {
        "parameters": [query(name, schema) for name, schema in FIELDS.items()],
        "requestBody": {
            "required": True,
            "content": form(
                {"photo": PICTURE_FILE, "mask": PICTURE_FILE, "painting": PICTURE_FILE, **FIELDS},
                ["photo"],
                {"photo": "(the file)", "style": "starry_night", "strength": 0.9},
            )
            | PICTURES,
        },
    },
}
SUBMIT: dict[str, Any] = {
    "summary": "Begin long work",
    "description": "Answers at once; the job is found under its address, by whoever brings the cookie of this answer. "
    "A video may be the body, with the fields in the address.",
    "responses": {202: {"description": "The job", "content": {"application/json": {"schema": JOB}}}} | CHANGES,
    "openapi_extra": {
        "parameters": [query(name, schema) for name, schema in JOB_FIELDS.items()],
        "requestBody": {
            "required": True,
            "content": form(
                {
                    "photo": {"type": "array", "items": PICTURE_FILE},
                    "painting": {"type": "array", "items": PICTURE_FILE},
                    "video": PICTURE_FILE,
                    "mask": PICTURE_FILE,
                    **JOB_FIELDS,
                },
                ["kind"],
                {"kind": "video", "video": "(the file)", "style": "starry_night", "size": 1280},
            )
            | {"video/mp4": {"schema": PICTURE_FILE}},
        },
    },
}
STYLE_EXAMPLE = [{"name": name, **entry} for name, entry in builtin_styles().items()][:1]
STYLES: dict[str, Any] = {
    "summary": "Styles",
    "responses": answers(
        "application/json", {"type": "array", "items": {"type": "object"}}, "The styles", STYLE_EXAMPLE
    ),
}
THUMBNAIL: dict[str, Any] = {
    "summary": "A style on the sample photo",
    "responses": answers("image/jpeg", PICTURE_FILE, "The thumbnail") | refusals(404, 422, 429, 504),
}
SAMPLE: dict[str, Any] = {
    "summary": "The sample photo",
    "responses": answers("image/jpeg", PICTURE_FILE, "The photo"),
}
HEALTH: dict[str, Any] = {"summary": "Whether the server lives"}
READY: dict[str, Any] = {
    "summary": "Whether it can paint",
    "responses": {503: {"description": "Not yet, or not any more"}},
}
METRICS: dict[str, Any] = {
    "summary": "Figures for Prometheus",
    "responses": answers("text/plain", {"type": "string"}, "In its text format"),
}
INFO: dict[str, Any] = {"summary": "What this server does, and its limits"}
JOBS: dict[str, Any] = {
    "summary": "Your jobs",
    "responses": answers("application/json", {"type": "array", "items": JOB}, "The newest first"),
}
EVENTS: dict[str, Any] = {
    "summary": "What happens to a job",
    "description": "Server-sent events, each called as the job's state, until the job has ended.",
    "responses": answers("text/event-stream", {"type": "string"}, "Events") | refusals(404),
}
PICTURE: dict[str, Any] = {
    "summary": "How far a job is, as a picture",
    "responses": {200: {"description": "The picture", "content": PICTURES}} | refusals(404),
}
RESULT: dict[str, Any] = {
    "summary": "What a job has made",
    "responses": {
        200: {
            "description": "A painting, a style file, or a video",
            "content": {kind.media_type: {"schema": PICTURE_FILE} for kind in KINDS.values()},
        }
    }
    | refusals(404, 409),
}
SHOW: dict[str, Any] = {
    "summary": "A job",
    "responses": answers("application/json", JOB, "The job, and the curve of its losses") | refusals(404),
}
CANCEL: dict[str, Any] = {
    "summary": "Cancel a job, or delete what it has made",
    "responses": {204: {"description": "Done"}} | refusals(403, 404),
}
