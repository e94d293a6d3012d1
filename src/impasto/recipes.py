"""Recipes: how a picture was made, kept in its EXIF block, so that it can be made again.

A recipe is JSON: the version of Impasto, the engine, its settings, and the files that it read by the names that the
settings call them by, with their hashes. Folders stay private.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

import impasto
from impasto.decoding import EXIF_IFD, GPS_IFD, HISTORY, MAX_EXIF_BYTES, RECIPE_MARK
from impasto.errors import ImageError

if TYPE_CHECKING:
    from impasto.images import Pixels

VERBS = ("stylize", "optimize", "upscale")


def make_recipe(engine: str, settings: Mapping[str, Any], files: Iterable[Path], **more: Any) -> dict[str, Any]:
    """Recipe of an engine's settings, which call the files by their names alone.

    Raises:
        ValueError: Two different files have one name.
        ImageError: A file cannot be read.

    """
    hashes: dict[str, str] = {}
    for path in files:
        value = hash_of(path)
        if hashes.setdefault(path.name, value) != value:
            raise ValueError(
                f"two different files are called {path.name}; rename one, so that the recipe can tell them"
            )
    return {"impasto": impasto.__version__, "engine": engine, "settings": dict(settings), "files": hashes, **more}


def of_photo(recipe: Mapping[str, Any], name: str, value: str, **settings: Any) -> dict[str, Any] | None:
    """Recipe of one photo by its name and hash, from one without, with what was found to be best for it.

    None where another file of it has that name.
    """
    if recipe["files"].get(name, value) != value:
        return None
    files = {name: value, **recipe["files"]}
    return {**recipe, "settings": {"photo": name, **recipe["settings"], **settings}, "files": files}


def hash_of_mask(mask: "Pixels | None") -> str | None:
    """SHA-256 of a mask, uint8 (h, w), and its shape."""
    return None if mask is None else hashlib.sha256(repr(mask.shape).encode() + mask.tobytes()).hexdigest()


def hash_of(path: Path) -> str:
    """SHA-256 of a file; raises ImageError where it cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror}") from error


def with_recipe(exif: bytes, recipe: Mapping[str, Any]) -> bytes:
    """EXIF block of a picture, with a recipe in it; without where a JPEG could not hold both."""
    tags = Image.Exif()
    if exif:
        tags.load(exif)
    directories = {tag: dict(tags.get_ifd(tag)) for tag in (EXIF_IFD, GPS_IFD)}
    directories[EXIF_IFD][HISTORY] = RECIPE_MARK + json.dumps(recipe)
    for tag, directory in directories.items():
        if directory:
            tags[tag] = directory
    block = tags.tobytes()
    return block if len(block) <= MAX_EXIF_BYTES else exif


def read_recipe(path: Path) -> dict[str, Any]:
    """Recipe in a picture's file; raises ImageError where there is none."""
    try:
        with Image.open(path) as image:
            history = str(image.getexif().get_ifd(EXIF_IFD).get(HISTORY, ""))
        recipe = json.loads(history.removeprefix(RECIPE_MARK)) if history.startswith(RECIPE_MARK) else None
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror or 'it is no picture'}") from error
    except Exception:  # a hostile file makes Pillow and the parser raise anything  # noqa: BLE001
        recipe = None
    if not (isinstance(recipe, dict) and recipe.get("engine") in VERBS and isinstance(recipe.get("settings"), dict)):
        raise ImageError(f"{path}: holds no recipe; it was not made by impasto, or has lost its metadata")
    if not isinstance(recipe.get("files"), dict):
        recipe["files"] = {}
    return recipe


def find_files(recipe: Mapping[str, Any], folders: Iterable[Path]) -> dict[str, Path]:
    """Files of a recipe by the names that it calls them by, from the first folder that has the very same.

    Raises:
        ImageError: One is not there, or is another file of that name.

    """
    found: dict[str, Path] = {}
    for name, value in recipe["files"].items():
        plain = Path(str(name)).name  # a hostile recipe must not lead anywhere else
        there = [folder / plain for folder in folders if (folder / plain).is_file()]
        same = [path for path in there if hash_of(path) == value]
        if not same:
            told = f"{there[0]} is another file" if there else "is nowhere to be found"
            raise ImageError(f"{plain}: {told}; name the folder where it is by --files")
        found[str(name)] = same[0]
    return found
