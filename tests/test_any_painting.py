"""The recipe of the engines: interrupted training continues to the bit, and only what is trained is exported."""

import argparse
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from conftest import picture
from impasto.networks.autoencoder import Decoder
from impasto.networks.engines import WCTNet

RECIPE = Path(__file__).parent.parent / "recipes" / "any_painting.py"


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The recipe, with small batches."""
    spec = importlib.util.spec_from_file_location("any_painting", RECIPE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "any_painting", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "BATCHES", ((2, 32), (2, 48)))
    monkeypatch.setattr(module, "SMALLEST", 64)
    monkeypatch.setattr(module, "SAVE_EVERY", 2)
    return module


@pytest.fixture
def args(tmp_path: Path) -> argparse.Namespace:
    for i in range(7):
        picture(tmp_path / "photos" / f"{i}.png", 70, 90, i)
        picture(tmp_path / "styles" / f"{i}.png", 80, 100, 10 + i)
        picture(tmp_path / "extra" / f"{i}.png", 80, 100, 20 + i)
    folders = {"photos": tmp_path / "photos", "paintings": [tmp_path / "styles", tmp_path / "extra"]}
    return argparse.Namespace(**folders, runs=tmp_path, steps=6, optimizer="muon", unfinished=False, engines=tmp_path)


def weights(args: argparse.Namespace) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(args.runs / f"{args.part}.pt", weights_only=True)
    return state


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("part", ["adain", "wct1", "hourglass"])
def test_interrupted_training_continues_to_the_bit(
    recipe: ModuleType, args: argparse.Namespace, part: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    args.part = part
    begun = {"average": Decoder(4).state_dict()}  # what the hourglass begins with
    for runs in (tmp_path, tmp_path / "again"):
        runs.mkdir(exist_ok=True)
        if part == "hourglass":
            torch.save(begun, runs / "adain.pt")
    recipe.train(args)
    whole = weights(args)
    assert whole["step"] == 6
    args.runs = tmp_path / "again"
    save = recipe.save

    def stop_after(*given: Any) -> None:
        save(*given)
        if given[4] == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(recipe, "save", stop_after)
    with pytest.raises(KeyboardInterrupt):
        recipe.train(args)
    assert weights(args)["step"] == 4
    monkeypatch.setattr(recipe, "save", save)
    recipe.train(args)
    again = weights(args)
    for kind in ("net", "average"):
        assert all(torch.equal(value, again[kind][name]) for name, value in whole[kind].items())
    assert any(not torch.equal(value, whole["average"][name]) for name, value in whole["net"].items())


def test_paintings_are_held_out(recipe: ModuleType, args: argparse.Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def stop(given: list[Any], _: list[Any]) -> None:
        seen.extend(f"{item.path.parent.name}/{item.path.stem}" for item in given)
        raise KeyboardInterrupt

    monkeypatch.setattr(recipe, "Paintings", stop)
    args.part = "wct1"
    with pytest.raises(KeyboardInterrupt):
        recipe.train(args)
    assert seen == [f"styles/{i}" for i in range(7)] + [f"extra/{i}" for i in range(1, 6)]


def test_crops_depend_on_the_step_alone(recipe: ModuleType, args: argparse.Namespace) -> None:
    photos = recipe.find_photos(args.photos)
    found = [recipe.Paintings(recipe.find_photos(args.paintings[0]), photos) for _ in range(2)]
    first = found[0].batch(3, 6, 2, 40)
    assert first.shape == (2, 40, 40, 3)
    found[1].batch(0, 0, 2, 40)
    assert (found[1].batch(3, 6, 2, 40) == first).all()
    assert (found[0].batch(4, 8, 2, 40) != first).any()


def test_other_colours_keep_grey_grey(recipe: ModuleType) -> None:
    grey = np.full((4, 4, 3), 128, np.uint8)
    for seed in range(20):
        made = recipe.recolored(grey, np.random.default_rng(seed)).astype(int)
        assert np.ptp(made, axis=(0, 1)).max() == 0
        assert abs(made.mean() - 128) < 80


def test_only_what_is_trained_to_the_end_is_exported(
    recipe: ModuleType, args: argparse.Namespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    exported: dict[str, torch.nn.Module] = {}

    def note(name: str, net: torch.nn.Module, folder: Path) -> Path:
        exported[name] = net
        return folder / "note"

    (args.engines / "note").write_bytes(b"")
    monkeypatch.setattr(recipe, "export_engine", note)
    monkeypatch.setattr(recipe, "export_statistics", lambda folder: folder / "note")
    for level in range(1, 6):
        decoder = WCTNet((level,)).decoders[str(level)].state_dict()
        step = 6 if level < 5 else 5
        torch.save({"average": decoder, "step": step}, args.runs / f"wct{level}.pt")
    recipe.export(args)
    assert exported == {}
    assert "wct is not written: wct5 to train" in capsys.readouterr().out
    args.unfinished = True
    recipe.export(args)
    assert [*exported] == ["wct"]
    made = exported["wct"].decoders
    assert torch.equal(made["5"].output.weight, decoder["output.weight"])  # type: ignore[index,union-attr]
