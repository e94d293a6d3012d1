"""The documents: their snippets run, their links lead somewhere, and what they say of the command line is so."""

import pkgutil
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import impasto
from clipmaker import blocks, write_clip
from conftest import STROKES, colors_model, write_checkpoint
from impasto.cli import main
from impasto.cli.app import app
from impasto.images import read_image, write_image
from impasto.specs import StyleEntry
from impasto.styles import find_style
from impasto.video import read_clip
from serving import serving, with_engines

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.md")])
SNIPPETS = {
    page: re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL) for page in PAGES
}
SMALL = {"size=1024": "size=48, min_size=48, first_iterations=2"}
"""What takes long in the documents, and a short form of it."""


def links(page: Path) -> set[tuple[str, str]]:
    """What a page links to in this repository: places, empty for the page itself, and their headings or nothing."""
    text = page.read_text("utf-8")
    found = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"src=\"([^\"]+)\"", text)
    inside = [target for target in found if not target.startswith(("http:", "https:"))]
    return {(place, heading) for place, _, heading in (target.partition("#") for target in inside)}


def headings(page: Path) -> set[str]:
    """What a page's headings are called in links: lower-case words and hyphens."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for place, heading in links(page):
        target = page.parent / place if place else page
        assert target.exists(), f"{page.name} links to {place}"
        assert not heading or heading in headings(target), f"{page.name} links to {place}#{heading}"


def test_every_page_and_picture_is_reached_from_the_readme() -> None:
    reached, ahead = set[Path](), [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page not in reached:
            reached.add(page)
            ahead += [(page.parent / place).resolve() for place, _ in links(page)] if page.suffix == ".md" else []
    assert {*(ROOT / "docs").rglob("*.*")} <= reached


@pytest.mark.usefixtures("engines", "upscalers_zoo")
@pytest.mark.parametrize(
    "page", [page for page in PAGES if SNIPPETS[page] and page.name != "web.md"], ids=lambda p: p.name
)
def test_python_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    Path("photos").mkdir()
    for name in ("photos/a.jpg", "photo.jpg", "painting.jpg", "a.jpg", "b.jpg", "monet.jpg", "left.png"):
        write_image(name, pixels)
    entries = tuple(StyleEntry(name=name, strokes=STROKES) for name in ("candy", "udnie"))
    Path("mine.onnx").write_bytes(colors_model(entries=entries).SerializeToString())
    write_checkpoint(Path("candy.pth"))
    Path("palette.onnx").write_bytes(find_style("palette").read_bytes())
    before, names = files_in(tmp_path), dict[str, object]()
    for code in SNIPPETS[page]:
        for long, short in SMALL.items():
            code = code.replace(long, short)
        exec(compile(code, page.name, "exec"), names)
    writes = re.search(r"write_image|output=|convert\(|_folder\(", "".join(SNIPPETS[page])) is not None
    assert (files_in(tmp_path) != before) == writes


def test_python_of_the_api_runs(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    for name in ("photo.jpg", "painting.jpg", "monet.jpg"):
        write_image(tmp_path / name, blocks(count=1)[0])
    write_clip(tmp_path / "clip.mp4", blocks(count=10))
    (code,) = SNIPPETS[ROOT / "docs" / "web.md"]
    with serving(**with_engines(tmp_path_factory.mktemp("engines"))) as server:
        code = code.replace("http://127.0.0.1:8080", server.url).replace('"size": 512', '"size": 64, "iterations": 3')
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert {read_image(tmp_path / name).shape for name in ("painting.jpg", "slow.png", "monet.png")} == {(48, 64, 3)}
    assert (read_clip(tmp_path / "painting.mp4").height, read_clip(tmp_path / "painting.mp4").width) == (48, 64)


def files_in(folder: Path) -> dict[Path, bytes]:
    """What there is, with its content."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.usefixtures("engines")
def test_the_quickstart_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("photo.jpg", "painting.jpg", "photos/a.jpg", "photos/b/c.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        write_image(name, blocks(count=1)[0])
    write_clip(Path("clip.mp4"), blocks(count=30), seconds_of_sound=1.0)
    text = (ROOT / "docs" / "quickstart.md").read_text("utf-8")
    commands = re.findall(r"^impasto (\w+) (.*?)(?: +#.*)?$", text, re.MULTILINE)
    for command, arguments in commands:
        if command != "serve":  # which does not end
            with pytest.raises(SystemExit) as caught:
                main([command, *shlex.split(arguments)])
            assert caught.value.code == 0, f"impasto {command} {arguments}"
    assert {command for command, _ in commands} == {"stylize", "style", "styles", "serve"}
    made = "photo-starry_night.jpg paintings/b/c-candy.png preview.mp4 clip-candy.mp4 mine.onnx painted.jpg sheet.png"
    assert [name for name in made.split() if not Path(name).is_file()] == []


def test_the_page_of_the_api_has_its_names_and_no_others() -> None:
    text = (ROOT / "docs" / "python.md").read_text("utf-8")
    tables = " ".join(re.findall(r"^\|.*\|$", text, re.MULTILINE))
    told = re.findall(r"`(impasto[\w.]+|\w+)`", tables)
    assert {name for name in told if "." not in name} == set(impasto.__all__)
    for name in (name for name in told if "." in name):
        assert pkgutil.resolve_name(name)


def test_the_design_tells_what_every_module_owns() -> None:
    text = (ROOT / "docs" / "design.md").read_text("utf-8")
    rows = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    told = set[str]()
    for row in rows:
        names = re.findall(r"`([\w/]+)`", row)
        folder = names[0].rpartition("/")[0]  # said of the first of a row
        told |= {f"{folder}/{name}" if folder and "/" not in name else name for name in names}
    source = ROOT / "src" / "impasto"
    modules = {str(path.relative_to(source).with_suffix("")) for path in source.rglob("*.py")}
    modules = {name for name in modules if not name.rpartition("/")[2].startswith("_") and not name.startswith("cli/")}
    assert {name for name in told if not (source / name).is_dir()} == modules


def test_commands_have_the_flags_that_they_are_shown_with() -> None:
    shown = 0
    for page in PAGES:
        for line in re.findall(r"^impasto (\w+.*)$", page.read_text("utf-8"), re.MULTILINE):
            words = shlex.split(line.split("#")[0].split("<")[0].split("|")[0])
            command = app[words[0]]
            while words[1:] and words[1] in list(command):
                command, words = command[words[1]], words[1:]
            known = {name for argument in command.assemble_argument_collection() for name in argument.names}
            flags = {word.partition("=")[0] for word in words if word.startswith("-") and word != "-"}
            assert flags <= known | {"--help"}, f"{page.name}: {line}"
            shown += 1
    assert shown >= 10
