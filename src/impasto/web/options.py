"""Fields of a request as arguments of `stylize`, checked once; a style is always one of ours or of who asks."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from impasto.choices import COLORS
from impasto.files import stamp
from impasto.paintings import available, engine_file
from impasto.recipes import hash_of
from impasto.styles import builtin_styles, find_style
from impasto.stylize import BROADEST, FINEST
from impasto.web.refusal import Refusal, check_known, wrong
from impasto.web.store import JOB_ID

MEDIA_TYPES = {"jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp"}
FIELDS = ("style", "strength", "stroke", "colors", "size", "format", "quality", "engine")
Own = Mapping[str, tuple[Path, str]]
"""Styles that a client has trained: file and name of each, by the id of the training."""
PAINTING = "painting"
"""What the style of a painting is called, and the file that it comes as."""
LONGEST = 2000
"""Letters of a field."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How a picture is to be painted."""

    file: Path
    """Style file, or that of the engine which paints after a painting."""
    weights: Mapping[str, float]
    """Of its styles."""
    engine: str | None = None
    """Its name, where the style is a painting that comes with the request."""
    strength: float | None = None
    stroke: float | None = None
    colors: str = "style"
    size: int | None = None
    """Long side to which a larger picture is reduced, in pixels."""
    format: str = "jpeg"
    quality: int | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        """Of `stylize`, but for picture, style and mask."""
        return {"strength": self.strength, "stroke": self.stroke, "colors": self.colors, "max_side": self.size}


def hash_now(path: Path) -> str:
    """SHA-256 of a file."""
    return hash_at(path, stamp(path))


@lru_cache(maxsize=64)
def hash_at(path: Path, _stamp: tuple[int, ...]) -> str:
    """SHA-256 of a file, computed again when it has changed."""
    return hash_of(path)


def parse(fields: Mapping[str, str], own: Own, *, painting: bool = False) -> Options:
    """Options from a request's fields, which may name styles that are the client's own.

    `painting`: whether one has come to be the style.

    Raises:
        Refusal: A field is unknown, missing, or its value not allowed.

    """
    check_known(fields, FIELDS, "field")
    for name, value in fields.items():
        if len(value) > LONGEST:
            raise wrong(name, "is too long")
    given = {name: value.strip() for name, value in fields.items() if value.strip()}
    engine = parse_engine(given, painting=painting)
    file, weights = (engine_file(engine), {PAINTING: 1.0}) if engine else parse_style(fields.get("style", ""), own)
    return Options(
        file=file,
        weights=weights,
        engine=engine,
        strength=number(given, "strength", 0, 1),
        stroke=number(given, "stroke", FINEST, BROADEST),
        colors=choice(given, "colors", COLORS),
        size=whole(given, "size", 1, 65_535),
        format=choice(given, "format", tuple(MEDIA_TYPES)),
        quality=whole(given, "quality", 1, 100),
    )


def parse_engine(given: Mapping[str, str], *, painting: bool) -> str | None:
    """Engine that paints after the painting of a request; None where there is no painting."""
    if not painting:
        if "engine" in given:
            raise wrong("engine", "is for a painting; send one as a file called painting")
        return None
    if "style" in given:
        raise wrong("style", "came with a painting; send one of them")
    engines = tuple(available())
    if not engines:
        raise Refusal(
            422,
            "missing_engine",
            "no engine that paints after any painting is installed here; "
            "jobs of the kinds optimisation and training paint after one too",
        )
    return choice(given, "engine", engines)


def parse_style(text: str, own: Own) -> tuple[Path, dict[str, float]]:
    """``candy``, ``candy:0.7,udnie:0.3`` or an own style -> its file and the weights of its styles.

    Names of files are none: what a client sends never leads to a path.
    """
    if not text.strip():
        raise wrong("style", "is missing; GET /v1/styles lists the built-in ones")
    if JOB_ID.fullmatch(text.strip()):
        if (found := own.get(text.strip())) is None:
            raise Refusal(422, "unknown_style", "there is no such style of yours; it may have expired")
        return found[0], {found[1]: 1.0}
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, colon, share = part.strip().partition(":")
        if name not in builtin_styles():
            raise Refusal(422, "unknown_style", f"{name[:40]!r} is no style; they are {', '.join(builtin_styles())}")
        weight = number({"style": share}, "style", 0, 1e6) if colon else 1.0
        weights[name] = weights.get(name, 0.0) + (0.0 if weight is None else weight)
    if not sum(weights.values()):
        raise wrong("style", "has only weights of 0; one must be more")
    files = {find_style(name) for name in weights}
    if len(files) > 1:
        raise wrong("style", "blends styles of several files")
    return files.pop(), weights


def number(fields: Mapping[str, str], name: str, low: float, high: float) -> float | None:
    """A field's number; None where it is not given."""
    if name not in fields:
        return None
    try:
        value = float(fields[name])
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise wrong(name, f"is {fields[name][:40]!r}; it must be a number from {low:g} to {high:g}")
    return value


def whole(fields: Mapping[str, str], name: str, low: int, high: int) -> int | None:
    """A field's whole number; None where it is not given."""
    if name not in fields:
        return None
    text = fields[name]
    if not re.fullmatch("[0-9]{1,9}", text) or not low <= int(text) <= high:
        raise wrong(name, f"is {text[:40]!r}; it must be a whole number from {low} to {high}")
    return int(text)


def choice(fields: Mapping[str, str], name: str, allowed: tuple[str, ...]) -> str:
    """A field's value, one of those allowed; the first where it is not given."""
    value = fields.get(name, allowed[0])
    if value not in allowed:
        raise wrong(name, f"is {value[:40]!r}; it must be one of {', '.join(allowed)}")
    return value


def parse_json(text: str) -> dict[str, str]:
    """Fields from a JSON object of texts and numbers, as WebSockets send them."""
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise Refusal(422, "wrong_value", 'settings are a JSON object, as {"style": "candy"}')
    return {str(name): str(value) for name, value in given.items() if value is not None}
