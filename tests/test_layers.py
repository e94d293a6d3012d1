"""The base install: everything but training works where PyTorch and the other extras are not installed."""

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import impasto
from impasto import errors

EXTRAS = ("torch", "onnx", "onnxscript", "safetensors", "scipy", "av", "cv2", "fastapi", "fsspec", "ray", "pillow_heif")
BASE = (
    *(f"cli.{path.stem}" for path in sorted(Path(impasto.__file__).with_name("cli").glob("[a-z]*.py"))),
    "cli.__init__",
    "batch",
    "choices",
    "colors",
    "config",
    "doctor",
    "downloads",
    "errors",
    "files",
    "graphs",
    "images",
    "large",
    "manifest",
    "mapped",
    "memory",
    "needs",
    "pages",
    "painters",
    "paintings",
    "photos",
    "protobuf",
    "runtimes",
    "samples",
    "sources",
    "specs",
    "storage",
    "styles",
    "stylize",
    "texts",
    "tiff",
    "tiles",
    "views",
    "upscale",
    "upscaler_config",
    "upscalers",
    "web.frames",
    "web.settings",
    "web.workers",
    "work",
)
BLOCK = f"import sys; sys.modules.update(dict.fromkeys({EXTRAS}))\n"  # None there is a missing module


def python(code: str, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", code, *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("module", BASE)
def test_module_imports_nothing_optional_at_its_top(module: str) -> None:
    """Holds each module by itself, not only in the order of the next test."""
    tree = ast.parse(Path(impasto.__file__).parent.joinpath(*module.split(".")).with_suffix(".py").read_text("utf-8"))
    for node in tree.body:
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not {name.partition(".")[0] for name in names} & set(EXTRAS)


def test_base_modules_import_without_extras() -> None:
    imports = "".join(f"import impasto.{name}\n" for name in BASE)
    done = python(BLOCK + imports)
    assert (done.returncode, done.stderr) == (0, "")


def test_stylizing_works_without_extras(tmp_path: Path, invert: Path) -> None:
    photo = np.full((20, 31, 3), 40, np.uint8)
    Image.fromarray(photo).save(tmp_path / "a.png")
    command = BLOCK + "from impasto.cli import main; main(sys.argv[1:])"
    done = python(command, "stylize", str(tmp_path / "a.png"), "--style", str(invert), "--precision", "float32")
    assert (done.returncode, done.stderr) == (0, "")
    assert (np.asarray(Image.open(tmp_path / "a-invert.png")) == 215).all()


@pytest.mark.parametrize(
    "command", [["doctor"], ["styles", "--json"], ["train", "--help"], ["convert", "--help"], ["serve", "--help"]]
)
def test_commands_work_without_extras(command: list[str]) -> None:
    done = python(BLOCK + "from impasto.cli import main; main(sys.argv[1:])", *command)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


@pytest.mark.parametrize(
    "command", [["train", "painting.jpg", "--photos", ".", "-o", "a.onnx"], ["convert", "a.pth", "-o", "a.onnx"]]
)
def test_commands_that_need_an_extra_name_it(command: list[str]) -> None:
    done = python(BLOCK + "from impasto.cli import main; main(sys.argv[1:])", *command)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("impasto: ")
    assert done.stderr.count("\n") == 1
    assert "pip install 'impasto[train]'" in done.stderr


def test_the_server_names_its_extra_and_needs_no_other() -> None:
    done = python(BLOCK + "from impasto.cli import main; main(['serve'])")
    assert (done.returncode, done.stdout) == (1, "")
    assert "pip install 'impasto[web]'" in done.stderr
    code = BLOCK + "del sys.modules['fastapi']; from impasto.web.works import kind_of; import impasto.web.app\n"
    done = python(code + "try: kind_of('training')\nexcept Exception as refusal: print(refusal)")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "training needs a part that is not there: pip install 'impasto[train]'\n"


def test_names_that_need_an_extra_name_it() -> None:
    done = python(BLOCK + "import impasto\ntry: impasto.train\nexcept impasto.MissingExtraError as e: print(e)")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "impasto.train needs PyTorch: pip install 'impasto[train]'\n"


def test_another_missing_module_is_not_blamed_on_an_extra() -> None:
    done = python("import sys; sys.modules['PIL'] = None; import impasto; impasto.stylize")
    assert "ModuleNotFoundError" in done.stderr
    assert "impasto[train]" not in done.stderr


@pytest.mark.parametrize(("code", "heavy"), [("import impasto", {"cyclopts"}), ("import impasto.cli", set())])
def test_import_is_light(code: str, heavy: set[str]) -> None:
    unwanted = {"numpy", "PIL", "openvino", "torch", "onnx"} | heavy
    done = python(f"{code}; import sys; print(sorted({unwanted} & set(sys.modules)))")
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize("before", ["import impasto", "import impasto.stylize, impasto.train"])
def test_functions_are_not_hidden_by_modules_of_their_name(before: str) -> None:
    """Python binds an imported module in its package: `impasto.stylize` would no longer be what one calls."""
    code = f"{before}\nimport impasto\nfrom impasto.stylize import check\nfrom impasto import stylize, train\n"
    done = python(code + "print(impasto.stylize is stylize, callable(stylize), callable(impasto.train))")
    assert (done.stdout, done.stderr) == ("True True True\n", "")


def test_all_is_sorted_complete_and_resolves() -> None:
    assert impasto.__all__ == sorted(set(impasto.__all__))
    assert set(impasto.__all__) == set(impasto._HOME_OF)
    assert dir(impasto) == impasto.__all__
    for name in impasto.__all__:
        assert getattr(impasto, name).__name__ == name
    kinds = {name for name, value in vars(errors).items() if isinstance(value, type)}
    assert kinds <= set(impasto.__all__)


def test_all_is_what_type_checkers_see() -> None:
    tree = ast.parse(Path(impasto.__file__).read_text("utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    names = [alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(names) == impasto.__all__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'impasto' has no attribute 'nothing'"):
        impasto.nothing  # noqa: B018


def test_package_keeps_other_attributes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(impasto, "stylize", "another")
    assert impasto.stylize == "another"  # type: ignore[comparison-overlap]


def test_a_video_by_optimisation_names_each_extra_that_is_missing(tmp_path: Path) -> None:
    command = ["optimize", "a.mp4", "a.jpg", "-o", str(tmp_path / "b.mp4")]
    for missing, extra in ((("torch",), "train"), (("cv2",), "video")):
        block = f"import sys; sys.modules.update(dict.fromkeys({missing}))\n"
        done = python(block + "from impasto.cli import main; main(sys.argv[1:])", *command)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.count("\n") == 1
        assert f"this needs {missing[0]}: pip install 'impasto[{extra}]'" in done.stderr


VIDEO = ("animations", "cameras", "clips", "encode", "flow", "hdr", "live", "parts", "sound", "video")


def test_video_needs_its_own_extra_only() -> None:
    block = f"import sys; sys.modules.update(dict.fromkeys({set(EXTRAS) - {'av', 'cv2'}}))\n"
    done = python(block + "".join(f"import impasto.{name}\n" for name in VIDEO))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["optimize_video", "paint_video", "stylize_frames"])
def test_names_that_need_the_video_extra_name_it(name: str) -> None:
    done = python(BLOCK + f"import impasto\ntry: impasto.{name}\nexcept impasto.MissingExtraError as e: print(e)")
    assert (done.returncode, done.stderr) == (0, "")
    assert "pip install 'impasto[video]'" in done.stdout


@pytest.mark.parametrize(
    "command",
    [
        ["stylize", "a.mp4", "--style", "candy"],
        ["optimize", "a.mp4", "a.jpg", "-o", "b.mp4"],
        ["webcam", "--style", "candy"],
    ],
    ids=lambda c: c[0],
)
def test_commands_that_need_the_video_extra_name_it(command: list[str]) -> None:
    done = python(BLOCK + "from impasto.cli import main; main(sys.argv[1:])", *command)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert "pip install 'impasto[video]'" in done.stderr
