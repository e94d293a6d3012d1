"""What there is to paint: the pictures and videos of folders, patterns and addresses, and what a painting is called."""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Final

from impasto import storage
from impasto.errors import MissingExtraError
from impasto.images import READ_SUFFIXES, WRITE_SUFFIXES
from impasto.storage import Entry

WILD: Final = re.compile(r"[*?\[]")
LONGEST: Final = 80
"""Letters of a style's name in the name of an output."""
VIDEO_SUFFIXES: Final = frozenset(
    "mp4 m4v mov mkv webm avi mpg mpeg ts mts m2ts flv wmv ogv 3gp nut mxf ivf y4m dv".split()  # noqa: SIM905 - to be read
)
"""Of files that are videos, without their dots; a GIF or WebP may be one."""
ANY_DEPTH: Final = "**"


def is_pattern(text: str) -> bool:
    """Whether a text has wildcards and is not the name of something that is there."""
    return bool(WILD.search(text)) and not storage.exists(text)


def is_many(text: str) -> bool:
    """Whether an input may be more than one file: a folder, a pattern or an address."""
    place = storage.local(text)
    return storage.is_address(place) or is_pattern(place) or storage.is_folder(place)


def find(
    inputs: Sequence[str], include: Sequence[str] = (), exclude: Sequence[str] = (), output: str | None = None
) -> list[Entry]:
    """Files of folders, patterns and addresses, and files, each once, in the order of their names.

    Their names are what is mirrored: paths below the folder or below the part of a pattern that has no wildcard; of
    several folders each begins with the folder's own. What is hidden and what is in `output` is left out.

    Raises:
        ImageError: A folder cannot be read.
        MissingExtraError: An address needs a package that is not installed.

    """
    found: dict[str, Entry] = {}
    for text in inputs:
        root, pattern = split(storage.local(text))
        if pattern or storage.is_folder(root):
            prefix = own_name(root) if len(inputs) > 1 else ""
            entries = below(root, pattern, include, exclude, output)
        else:
            prefix, entries = "", [storage.entry(root)]
        for entry in entries:
            found.setdefault(entry.place, replace(entry, name="/".join(filter(None, (prefix, entry.name)))))
    return sorted(found.values(), key=lambda entry: entry.name.split("/"))


def split(text: str) -> tuple[str, list[str]]:
    """Folder before the first wildcard of a pattern, and the parts from there on; none of what is no pattern."""
    if not is_pattern(text):
        return text, []
    parts = (text if storage.is_address(text) or os.sep == "/" else text.replace(os.sep, "/")).split("/")
    first = next(i for i, part in enumerate(parts) if WILD.search(part))
    root = "/".join(parts[:first]) or ("/" if first else ".")
    return root, [part for part in parts[first:] if part]


def own_name(root: str) -> str:
    """What a folder is called, for its files in an output of several."""
    if storage.is_address(root):
        return PurePosixPath(root.partition("://")[2]).name
    return Path(root).name or Path(root).resolve().name


def below(
    root: str, pattern: list[str], include: Sequence[str], exclude: Sequence[str], output: str | None
) -> Iterable[Entry]:
    """Files below a folder that are asked for."""
    asked, refused = [pattern_parts(text) for text in include], [pattern_parts(text) for text in exclude]
    whole = [*pattern, ANY_DEPTH] if pattern else [ANY_DEPTH]  # a folder that matches stands for what is in it

    def looked(parts: tuple[str, ...]) -> bool:
        return matches(parts, whole, partly=True) and not any(matches(parts, p) for p in refused)

    for entry in storage.walk(root, looked, output):
        parts = tuple(entry.name.split("/"))
        wanted = any(matches(parts, p) for p in asked) if asked else is_known(entry.name)
        if wanted and matches(parts, whole) and not any(matches(parts, p) for p in refused):
            yield entry


def pattern_parts(pattern: str) -> list[str]:
    """Parts of what is included or excluded: without a slash it is for any depth; a folder stands for all in it."""
    parts = [part for part in pattern.split("/") if part]
    return [*([] if "/" in pattern.rstrip("/") else [ANY_DEPTH]), *parts, ANY_DEPTH]


def matches(parts: Sequence[str], pattern: Sequence[str], *, partly: bool = False) -> bool:
    """Whether a path's parts fit a pattern's, in letters of any case; ** is any number of folders.

    `partly`: whether what is below the path may.
    """
    if not parts:
        return partly or all(part == ANY_DEPTH for part in pattern)
    if not pattern:
        return False
    if pattern[0] == ANY_DEPTH:
        return matches(parts, pattern[1:], partly=partly) or matches(parts[1:], pattern, partly=partly)
    return fnmatchcase(parts[0].lower(), pattern[0].lower()) and matches(parts[1:], pattern[1:], partly=partly)


def is_known(name: str) -> bool:
    """Whether a file is a picture or a video by its name."""
    suffix = PurePosixPath(name).suffix.lower()
    return suffix in READ_SUFFIXES or suffix.removeprefix(".") in VIDEO_SUFFIXES


def is_clip(place: str) -> bool:
    """Whether a file is to be taken for a video: by its name, or as a picture that moves."""
    suffix = PurePosixPath(place).suffix.lower()
    if suffix not in (".gif", ".webp"):
        return suffix.removeprefix(".") in VIDEO_SUFFIXES
    from PIL import Image

    try:
        with storage.opened_file(place) as stream, Image.open(stream) as image:
            return int(getattr(image, "n_frames", 1)) > 1
    except Exception:  # whatever it is, reading it as a picture tells  # noqa: BLE001
        return False


def painted_name(name: str, style: str, *, clip: bool) -> str:
    """What the painting of a file is called: <stem>-<style> and a suffix that can be written, in the same folder.

    Raises:
        MissingExtraError: It is a video, and the extra is not installed.

    """
    path = PurePosixPath(name)
    suffix = path.suffix if path.suffix.lower() in WRITE_SUFFIXES else ".png"
    suffix = clip_suffix(path.suffix) if clip else suffix
    plain = re.sub(r"[^\w .+-]", "_", style)[:LONGEST]  # names come from style files, which may be a stranger's
    return str(path.with_name(f"{path.stem}-{plain}{suffix}"))


def clip_suffix(suffix: str) -> str:
    """What the output of a video ends in unless its name is given: as its source, or MP4."""
    try:
        from impasto.encode import CONTAINERS
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"this needs {error.name}: pip install 'impasto[video]'") from error
    return suffix.lower() if suffix.lower() in CONTAINERS else ".mp4"
