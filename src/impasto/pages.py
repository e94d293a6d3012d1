"""A style as a static page that paints in a browser, by ONNX Runtime Web: nothing of a photo leaves the browser.

The page is in ``page/``, its words are those of the web app. The runtime is not ours and not in the package: it is
fetched once from npm's registry, of one version, whose size and checksum are written here.
"""

import json
import tarfile
from pathlib import Path
from typing import Any, Final

from impasto import __version__
from impasto.downloads import Asset, Progress, check_asset, fetch
from impasto.errors import StyleError, WeightsError
from impasto.files import atomic_write
from impasto.styles import Style, find_style, is_alone, is_builtin_palette, load_file, load_style, paintings_in

RUNTIME: Final = Asset(
    name="onnxruntime-web-1.30.0.tgz",
    url="https://registry.npmjs.org/onnxruntime-web/-/onnxruntime-web-1.30.0.tgz",
    size=33_106_585,
    sha256="d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71",
)
"""ONNX Runtime Web, MIT licence; what ``npm pack onnxruntime-web@1.30.0`` gives."""
WASM: Final = "onnxruntime/ort-wasm-simd-threaded.wasm"
MEMBERS: Final = {
    "package/dist/ort.wasm.bundle.min.mjs": "onnxruntime/ort.wasm.bundle.min.js",  # .mjs many a server does not know
    "package/dist/ort-wasm-simd-threaded.wasm": WASM,
}
"""What the page needs of it, and as what."""
OURS: Final = {
    "page/index.html": "index.html",
    "page/page.js": "page.js",
    "page/painter.js": "painter.js",
    "page/style.css": "style.css",
    "page/LICENSE.onnxruntime.txt": "onnxruntime/LICENSE.txt",
    "web/static/text.js": "text.js",
    "web/static/icon.svg": "icon.svg",
}
"""Files of the package, and as what they are written."""
ABOUT: Final = "style.json"
"""What the page says of the style; by it an earlier page is known."""


def write_page(
    name: str | Path,
    folder: str | Path,
    *,
    engine: str | None = None,
    runtime: str | Path | None = None,
    progress: Progress | None = None,
) -> list[str]:
    """Write a page that paints in a style, or in all of a palette, into a folder; returns the styles' names.

    `name`: as of `styles.load_style`, and a palette by itself, ``palette`` or ``mine.onnx``, for all that it holds.
    `engine`: of paintings. `runtime`: the file of `RUNTIME`, which is fetched unless given. The folder is made where it
    is not there; an earlier page in it is replaced.

    Raises:
        ValueError: The folder has other files than an earlier page's.
        StyleError: The style cannot be used, or the folder cannot be written.
        WeightsError: The runtime cannot be fetched, or `runtime` is another file.

    """
    folder = Path(folder)
    check_folder(folder)
    style = load_all(name, engine)
    shown = choices(style)
    parts = read_runtime(None if runtime is None else Path(runtime), progress)
    package = Path(__file__).parent
    files = {target: package.joinpath(source).read_bytes() for source, target in OURS.items()} | parts
    files["style.onnx"] = style.data
    about = describe(style, shown) | {"bytes": {"runtime": len(parts[WASM]), "style": len(style.data)}}
    files[ABOUT] = json.dumps(about, ensure_ascii=False, indent=1).encode()
    try:
        for target in sorted(files, key=lambda target: target == "index.html"):  # it comes when all is there
            path = folder / target
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as stream:
                stream.write(files[target])
    except OSError as error:
        raise StyleError(f"{error.filename or folder}: cannot write the page ({error.strerror})") from error
    return [one["name"] for one in shown]


def check_folder(folder: Path) -> None:
    """Raise a ValueError for a folder in which a page would be mixed with something else."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"folder is {folder}; it must be one, not a file")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / ABOUT).is_file():
        raise ValueError(f"folder is {folder}; it must be a new folder, an empty one, or one of an earlier page")


def load_all(name: str | Path, engine: str | None) -> Style:
    """Style as `load_style` gives it; of a palette that is named by itself, none is chosen."""
    is_whole = not paintings_in(name) and (is_alone(name) or is_builtin_palette(str(name)))
    if is_whole and engine is None:
        return load_file(find_style(name))
    return load_style(name, engine=engine)


def choices(style: Style) -> list[dict[str, Any]]:
    """What the page offers: the style or blend that was chosen, or each of the palette's."""
    entries = {entry.name: entry for entry in style.spec.entries}
    if len(style.weights) > 1:
        titles = [entries[name].title or name for name in style.weights]
        blend = {"name": style.name, "title": ", ".join(titles), "artist": "", "year": "", "rights": ""}
        return [blend | {"weights": dict(style.weights), "strength": style.strength}]
    return [
        {key: getattr(entries[name], key) for key in ("name", "title", "artist", "year", "rights", "strength")}
        | {"weights": {name: 1.0}}
        for name in style.weights or entries
    ]


def describe(style: Style, shown: list[dict[str, Any]]) -> dict[str, Any]:
    """What the page needs to know of a style file, since the runtime does not tell what is said in it."""
    spec = style.spec
    entries = [
        {"name": entry.name, "strokes": entry.strokes, "size": entry.size if entry.strokes else None}
        for entry in spec.entries
    ]
    needs = {"multiple": spec.multiple, "min_size": spec.min_size, "entries": entries}
    return {"impasto": __version__, "choices": shown, "spec": needs}


def read_runtime(file: Path | None, progress: Progress | None) -> dict[str, bytes]:
    """What the page needs of ONNX Runtime Web, by the name that it is written as."""
    if file is None:
        file = fetch(RUNTIME, progress=progress)
    else:
        check_asset(file, RUNTIME)
    parts: dict[str, bytes] = {}
    try:
        with tarfile.open(file, "r:gz") as archive:
            for member in archive:
                if member.name in MEMBERS and (stream := archive.extractfile(member)):
                    parts[MEMBERS[member.name]] = stream.read()
    except (OSError, tarfile.TarError, EOFError) as error:
        raise WeightsError(f"{file}: cannot read the archive ({error})") from error
    if missing := [name for name, target in MEMBERS.items() if target not in parts]:
        raise WeightsError(f"{file}: has no {missing[-1]}; it is not ONNX Runtime Web")
    return parts
