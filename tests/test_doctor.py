import importlib.util
import sys
from pathlib import Path

import pytest

from impasto import __version__, doctor, styles
from impasto.doctor import EXTRAS, examine, installed


@pytest.fixture(scope="module")
def words() -> dict[str, str]:
    return examine()


def test_everything_is_one_line(words: dict[str, str]) -> None:
    assert all(text and "\n" not in text for text in words.values())


def test_it_tells_device_precision_codecs_and_cache(words: dict[str, str]) -> None:
    assert words["impasto"].startswith(f"{__version__}, Python 3.")
    assert "openvino 20" in words["engine"]
    assert words["device"].startswith("CPU (")
    assert words["precision"] in ("bfloat16 on the CPU", "float32 on the CPU")
    assert int(words["processors"]) >= 1
    assert {".jpg", ".png", ".gif", ".bmp"} <= set(words["reads"].split())
    assert {".jpg", ".png", ".webp", ".avif", ".tiff"} <= set(words["writes"].split())


def test_extras_are_told_as_they_are(words: dict[str, str]) -> None:
    told = dict(item.split() for item in words["extras"].split(", "))
    assert told == {name: "yes" if importlib.util.find_spec(p) else "no" for name, p in EXTRAS.items()}


def test_what_needs_an_extra_is_read_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for there in (True, False):
        monkeypatch.setattr(doctor, "find_spec", lambda name, there=there: there or name != "pillow_heif" or None)
        assert (".heic" in examine()["reads"].split()) == there
        assert ".jpg" in examine()["reads"].split()


def test_the_cache_is_told_there_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("IMPASTO_CACHE", str(cache))
    assert examine()["cache"] == f"{cache} (not there yet)"
    cache.mkdir()
    assert examine()["cache"] == str(cache)


def test_styles_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(styles, "builtin_styles", dict)
    assert examine()["styles"] == "none"
    monkeypatch.setattr(styles, "builtin_styles", lambda: {"candy": {}, "udnie": {}})
    assert examine()["styles"] == "candy, udnie"


def test_a_gpu_of_pytorch_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("impasto.runtimes.torch_gpu", lambda: "cuda")
    assert doctor.inference()[0].endswith(", cuda")


def test_it_works_without_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "train no" in examine()["extras"]
    assert installed("no-such-package") == "not installed"
