"""What is released: the wheel and the sdist hold what is needed and no more, and the wheel paints by itself."""

import importlib.util
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
MOST = 25e6
"""Bytes that a wheel may have."""
pytestmark = pytest.mark.skipif(importlib.util.find_spec("hatchling") is None, reason="needs hatchling, which builds")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the wheel and the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (path,) = built.glob("*.whl")
    return path


def test_the_wheel_is_the_package_whole_and_nothing_else(wheel: Path) -> None:
    assert wheel.stat().st_size < MOST
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        about = {name.partition("/")[2]: archive.read(name) for name in archive.namelist() if ".dist-info/" in name}
    source = ROOT / "src"
    files = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    assert names == {name for name in files if "__pycache__" not in name and not name.endswith(".pyc")}
    for needed in ("zoo/palette.onnx", "zoo/index.json", "web/static/index.html", "page/index.html", "py.typed"):
        assert f"impasto/{needed}" in names
    assert b"impasto = impasto.cli:main" in about["entry_points.txt"]
    assert about["licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()
    assert b"Requires-Dist: openvino" in about["METADATA"]


def test_the_sdist_can_be_built_and_tested_from(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for needed in ("pyproject.toml", "LICENSE", "README.md", "Containerfile", "tests/conftest.py", "docs/design.md"):
        assert needed in names
    assert "src/impasto/zoo/palette.onnx" in names
    assert not [name for name in names if name.startswith((".ci", ".git/", "runs/", "out/")) or ".venv" in name]


def test_it_paints_from_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    """From the wheel's own files; what it depends on is that of this environment."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    (tmp_path / "empty").mkdir()
    code = "import impasto, sys; from impasto.cli import main; assert 'site' in impasto.__file__; main(sys.argv[1:])"
    photo, painting = ROOT / "examples/raccoon.jpg", tmp_path / "empty" / "painting.png"
    command = [sys.executable, "-c", code, "stylize", str(photo), "--style", "starry_night", "-o", str(painting)]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    options = ["--max-side", "256"]
    subprocess.run([*command, *options], cwd=tmp_path / "empty", env=environment, check=True, timeout=120)
    with Image.open(painting) as image:
        assert image.size == (256, 192)
