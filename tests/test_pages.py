"""What `impasto export` writes: which files, of which style, from which runtime; the browser's part is beside it."""

import hashlib
import io
import json
import re
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from PIL import Image

from impasto import cli, pages
from impasto.downloads import Asset
from impasto.errors import StyleError, WeightsError
from impasto.pages import MEMBERS, RUNTIME, write_page
from impasto.styles import builtin_styles, zoo

Pixels = npt.NDArray[np.uint8]
WRITTEN = {
    "index.html",
    "page.js",
    "painter.js",
    "style.css",
    "text.js",
    "icon.svg",
    "style.onnx",
    "style.json",
    "onnxruntime/LICENSE.txt",
    *MEMBERS.values(),
}


def archive(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as made:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
    return stream.getvalue()


@pytest.fixture
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A folder and the address at which it is served."""
    folder = tmp_path_factory.mktemp("registry")
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def release(
    served: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Path, Asset]]:
    """Publish a runtime with these members in place of the real one."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("IMPASTO_CACHE", str(tmp_path / "cache"))

    def publish(members: dict[str, bytes]) -> tuple[Path, Asset]:
        data, (folder, address) = archive(members), served
        (folder / RUNTIME.name).write_bytes(data)
        url, digest = f"{address}/{RUNTIME.name}", hashlib.sha256(data).hexdigest()
        asset = replace(RUNTIME, url=url, size=len(data), sha256=digest)
        monkeypatch.setattr(pages, "RUNTIME", asset)
        return folder / RUNTIME.name, asset

    return publish


@pytest.fixture
def runtime(release: Callable[..., tuple[Path, Asset]]) -> Path:
    """A runtime of a few bytes, published in place of the real one; its archive has other files too."""
    members = {"package/package.json": b"{}", "../outside.js": b"no", **{name: name.encode() for name in MEMBERS}}
    return release(members)[0]


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def about(folder: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((folder / "style.json").read_text("utf-8"))
    return told


def command(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        cli.main(["export", *map(str, args)])
    assert isinstance(caught.value.code, int)
    return caught.value.code, *capsys.readouterr()


def test_a_page_of_the_built_in_palette(runtime: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = command(capsys, "palette", "--web", tmp_path / "new" / "page")
    assert runtime.is_file()
    assert (code, out.count("\n")) == (0, 1)
    folder = tmp_path / "new" / "page"
    assert files_in(folder) == WRITTEN
    assert (folder / "style.onnx").read_bytes() == (zoo() / "palette.onnx").read_bytes()
    assert (folder / pages.WASM).read_bytes() == b"package/dist/ort-wasm-simd-threaded.wasm"
    told = about(folder)
    assert [one["name"] for one in told["choices"]] == list(builtin_styles())
    assert told["choices"][0]["weights"] == {"candy": 1.0}
    assert {one["name"]: one["strength"] for one in told["choices"]}["udnie"] == builtin_styles()["udnie"]["strength"]
    assert told["bytes"] == {"runtime": 40, "style": (zoo() / "palette.onnx").stat().st_size}
    rows = 1 + sum(len(entry["strokes"]) for entry in told["spec"]["entries"])
    shape = onnx.load(folder / "style.onnx").graph.input[1].type.tensor_type.shape
    assert rows == shape.dim[0].dim_value


def test_one_style_a_blend_a_file_and_a_painting(
    runtime: Path, tmp_path: Path, colors: Path, tiny: Path, engines: Path, noise: Callable[..., Pixels]
) -> None:
    assert engines
    write_page("udnie", tmp_path / "one", runtime=runtime)
    assert [one["title"] for one in about(tmp_path / "one")["choices"]] == ["Udnie (Young American Girl, The Dance)"]
    assert write_page(f"{colors}:red:1,{colors}:blue:3", tmp_path / "blend", runtime=runtime) == ["red-blue"]
    (choice,) = about(tmp_path / "blend")["choices"]
    assert (choice["title"], choice["weights"]) == ("Red, Blue", {"red": 0.25, "blue": 0.75})
    assert write_page(colors, tmp_path / "file", runtime=runtime) == ["red", "blue"]
    assert write_page(tiny, tmp_path / "tiny", runtime=runtime) == ["tiny"]
    (entry,) = about(tmp_path / "tiny")["spec"]["entries"]
    assert (entry["strokes"], entry["size"]) == ([], None)
    Image.fromarray(noise(40, 60)).save(tmp_path / "monet.jpg")
    assert write_page(tmp_path / "monet.jpg", tmp_path / "painting", engine="wct", runtime=runtime) == ["monet"]
    assert onnx.load(tmp_path / "painting" / "style.onnx").graph.input[0].name == "image"


def test_it_is_fetched_once_and_needs_no_network_then(
    release: Callable[..., tuple[Path, Asset]], invert: Path, tmp_path: Path
) -> None:
    file, _ = release(dict.fromkeys(MEMBERS, b"x"))
    seen: list[tuple[int, int]] = []
    write_page(invert, tmp_path / "a", progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == file.stat().st_size
    file.unlink()
    write_page(invert, tmp_path / "a")  # over the earlier page
    assert files_in(tmp_path / "a") == WRITTEN


def test_a_runtime_that_is_another_file(
    runtime: Path, invert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other.tgz").write_bytes(runtime.read_bytes() + b" ")
    for name, words in (("other.tgz", "another file than onnxruntime-web"), ("none.tgz", "No such file")):
        code, out, err = command(capsys, invert, "--web", tmp_path / "page", "--runtime", tmp_path / name)
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert words in err
    assert not (tmp_path / "page").exists()


@pytest.mark.parametrize("members", [{}, {"package/dist/ort.wasm.bundle.min.mjs": b"x"}])
def test_an_archive_without_the_runtime(
    release: Callable[..., tuple[Path, Asset]], invert: Path, tmp_path: Path, members: dict[str, bytes]
) -> None:
    file, _ = release(members)
    with pytest.raises(WeightsError, match=r"onnxruntime-web.*has no package/dist/ort-wasm-simd-threaded\.wasm"):
        write_page(invert, tmp_path / "page", runtime=file)
    assert not (tmp_path / "page").exists()


def test_a_registry_that_is_not_there(
    release: Callable[..., tuple[Path, Asset]], invert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, _ = release({})
    file.unlink()
    code, _, err = command(capsys, invert, "--web", tmp_path / "page")
    assert code == 1
    assert re.search(r"cannot download onnxruntime-web.* \(HTTP 404\); .* put the file at", err)


def test_a_folder_of_something_else_is_left_alone(
    runtime: Path, invert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("mine")
    for folder in (tmp_path / "site", tmp_path / "site" / "index.html"):
        code, _, err = command(capsys, invert, "--web", folder, "--runtime", runtime)
        assert (code, err.count("\n")) == (2, 1)
        assert f"folder is {folder}" in err
    assert files_in(tmp_path / "site") == {"index.html"}
    assert (tmp_path / "site" / "index.html").read_text() == "mine"


def test_what_cannot_be_exported(runtime: Path, tmp_path: Path) -> None:
    for name, engine, error in (
        ("no such", None, StyleError),
        (tmp_path / "none.onnx", None, StyleError),
        ("candy", "adain", ValueError),
        ("palette", "adain", ValueError),
    ):
        with pytest.raises(error):
            write_page(name, tmp_path / "page", engine=engine, runtime=runtime)
    assert not (tmp_path / "page").exists()


def test_a_folder_that_cannot_be_written(
    runtime: Path, invert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(pages, "atomic_write", full)
    with pytest.raises(StyleError, match=r"cannot write the page \(No space left"):
        write_page(invert, tmp_path / "page", runtime=runtime)


def test_the_page_asks_only_for_what_is_written() -> None:
    """In the sources themselves, since a browser may not come to every line."""
    package = Path(pages.__file__).parent
    sources = {target: (package / source).read_text("utf-8") for source, target in pages.OURS.items()}
    asked = re.findall(r"(?:src|href)=\"([^\"#]+)", sources["index.html"])
    for name in ("page.js", "painter.js"):
        asked += re.findall(r"(?:from|fetch(?:ed)?\(|new Worker\() ?\"([^\"]+)\"", sources[name])
    assert {name.removeprefix("./") for name in asked} <= WRITTEN
    assert len(asked) > 8
    assert not re.search(r"https?://", "".join(sources[name] for name in ("index.html", "page.js", "painter.js")))


def test_every_word_is_in_both_languages() -> None:
    package = Path(pages.__file__).parent
    page = (package / "page/index.html").read_text("utf-8") + (package / "page/page.js").read_text("utf-8")
    keys = set(re.findall(r"data-(?:text|label)=\"(\w+)\"|(?:say|tell)\(\"(\w+)\"", page))
    words = (package / "web/static/text.js").read_text("utf-8")
    english, chinese = words.split("const zh", 1)
    for key in {one or other for one, other in keys}:
        assert re.search(rf"\b{key}: \"", english), key
        assert re.search(rf"\b{key}: \"", chinese.split("Object.assign(en")[0]), key
    assert len(keys) > 20
