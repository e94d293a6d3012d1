"""Palettes that share a base become one."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch

from conftest import palette_spec, random_palette
from impasto.errors import StyleError
from impasto.export import export_style, load_trainable
from impasto.networks.rewrite import for_inference, undone
from impasto.networks.stylenet import StyleNet, tables, with_rows
from impasto.palette import merge, share_base
from impasto.specs import StyleEntry
from impasto.styles import find_style, load_file, read_style


@pytest.fixture(scope="module")
def third(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A palette with the base of `palette`, and rows of its own: style three, of one stroke size."""
    net = random_palette(("one", "two"))
    torch.manual_seed(5)
    net = with_rows(net, {name: torch.rand(1, table.shape[1]) for name, table in tables(net).items()})
    path = tmp_path_factory.mktemp("styles") / "third.onnx"
    entry = StyleEntry(name="three", strokes=(80,), figures={"style": 0.1})
    export_style(net, path, replace(palette_spec(net, ("three",), (80,)), entries=(entry,)))
    return path


def test_the_styles_of_both_paint_as_before(palette: Path, third: Path, tmp_path: Path) -> None:
    spec = merge([palette, third], tmp_path / "both.onnx")
    assert spec.names == ["one", "two", "three"]
    assert [entry.strokes for entry in spec.entries] == [(64, 96), (64, 96), (80,)]
    assert spec.entries[2].figures == {"style": 0.1}
    assert [part["file"] for part in spec.recipe["merged"]] == ["palette.onnx", "third.onnx"]
    both = read_style(tmp_path / "both.onnx")
    assert both.spec == spec
    image = torch.rand(1, 3, 32, 40, generator=torch.Generator().manual_seed(0)).numpy()
    merged = both.runtime("cpu", "float32")
    for source, name in ((palette, "one"), (palette, "two"), (third, "three")):
        style = read_style(source)
        expected = style.runtime("cpu", "float32")(image, style.spec.mix({name: 1.0})).copy()
        painted = merged(image, spec.mix({name: 1.0}))
        assert abs(painted - expected).mean() < 0.5 / 255
        assert expected.std() > 0.02


@pytest.mark.parametrize("upsample", ["nearest", "bilinear"])
def test_rounding_is_no_other_base(upsample: Literal["nearest", "bilinear"]) -> None:
    torch.manual_seed(0)
    net = StyleNet(widths=(4, 6), blocks=1, kernel=7, upsample=upsample, rows=2)
    rounded = {name: value.half().float() for name, value in for_inference(net).state_dict().items()}
    again = StyleNet(net.args, rows=2)
    again.load_state_dict(rounded | undone(net, rounded), strict=False)
    assert share_base(net, again)
    again.output.bias.data += 0.05
    assert not share_base(net, again)


def test_the_built_in_palette_is_merged_by_its_name(tmp_path: Path) -> None:
    base = load_trainable(load_file(find_style("palette")).data, "palette")
    assert isinstance(base, StyleNet)
    net = with_rows(base, {name: table[1:2].detach() for name, table in tables(base).items()})
    export_style(net, tmp_path / "new.onnx", palette_spec(net, ("new",), (512,)))
    spec = merge([Path("palette"), tmp_path / "new.onnx"], tmp_path / "both.onnx")
    assert spec.names == [*load_file(find_style("palette")).spec.names, "new"]


def test_another_base_is_refused(palette: Path, tmp_path: Path) -> None:
    net = random_palette(("four",), seed=9)
    export_style(net, tmp_path / "other.onnx", palette_spec(net, ("four",)))
    with pytest.raises(StyleError, match=r"other\.onnx: does not share its base with .*palette\.onnx"):
        merge([palette, tmp_path / "other.onnx"], tmp_path / "both.onnx")
    assert not (tmp_path / "both.onnx").exists()


def test_a_name_twice_is_refused(palette: Path, tmp_path: Path) -> None:
    with pytest.raises(StyleError, match="two palettes have a style one, two"):
        merge([palette, palette], tmp_path / "both.onnx")
    assert not (tmp_path / "both.onnx").exists()


def test_one_alone_or_what_is_no_palette_is_refused(palette: Path, tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="two palettes or more"):
        merge([palette], tmp_path / "both.onnx")
    with pytest.raises(StyleError, match="only palettes can be merged"):
        merge([palette, tiny], tmp_path / "both.onnx")


def test_sharing_survives_loading_and_saving(palette: Path, tmp_path: Path) -> None:
    net = load_trainable(palette.read_bytes(), "palette.onnx")
    renamed = palette_spec(net, ("five", "six"))
    export_style(net, tmp_path / "again.onnx", renamed)
    assert merge([palette, tmp_path / "again.onnx"], tmp_path / "four.onnx").names == ["one", "two", "five", "six"]
