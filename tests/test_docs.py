"""The documents: their Python runs, their links lead somewhere, and what they say of the command line is so."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from conftest import STROKES, colors_model
from impasto.cli.app import app
from impasto.images import write_image
from impasto.styles import StyleEntry

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.md")])
SNIPPETS = [
    pytest.param(block, id=f"{page.name}-{i}")
    for page in PAGES
    for i, block in enumerate(re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL))
    if "import impasto" in block
]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text("utf-8")
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text) + re.findall(r"src=\"([^\"]+)\"", text):
        if not target.startswith(("http:", "https:")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.usefixtures("engines", "upscalers_zoo")
@pytest.mark.parametrize("code", SNIPPETS)
def test_python_runs(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    Path("photos").mkdir()
    for name in ("photos/a.jpg", "photo.jpg", "a.jpg", "b.jpg", "monet.jpg", "left.png"):
        write_image(name, pixels)
    entries = tuple(StyleEntry(name=name, strokes=STROKES) for name in ("candy", "udnie"))
    Path("mine.onnx").write_bytes(colors_model(entries=entries).SerializeToString())
    before = set(tmp_path.iterdir())
    exec(compile(code, "snippet", "exec"), {})
    assert set(tmp_path.iterdir()) > before or "write_image" not in code


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
