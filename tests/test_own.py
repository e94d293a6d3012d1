"""Styles of a palette that have weights of their own paint as the networks that they come from."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from conftest import palette_spec, random_palette
from impasto.config import TrainConfig
from impasto.errors import StyleError
from impasto.export import export_style, load_network, load_trainable
from impasto.images import Floats
from impasto.networks.stylenet import StyleNet, tables, with_rows
from impasto.palette import extended, merge
from impasto.protobuf import weights_of
from impasto.runtimes import TorchRuntime
from impasto.specs import StyleEntry, StyleSpec
from impasto.styles import ADDED, OWN, Style, read_style
from impasto.stylize import stylize
from impasto.train import make_entries

LEVEL = 1 / 255
WHOLE = 1 << 20


@pytest.fixture(scope="module")
def retrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A palette that was trained from `palette`, all weights: style two once more, and style three."""
    net = random_palette(("one", "two"))
    generator = torch.Generator().manual_seed(3)
    for name, value in net.named_parameters():
        if value.ndim == 4:
            value.data += 0.3 * value.std() * torch.randn(value.shape, generator=generator)
        elif name in tables(net):
            value.data += 0.2 * torch.randn(value.shape, generator=generator)
    path = tmp_path_factory.mktemp("styles") / "retrained.onnx"
    export_style(net, path, palette_spec(net, ("three", "two")))
    return path


@pytest.fixture(scope="module")
def joined(palette: Path, retrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Styles one, of `palette`, and two and three, of `retrained`."""
    path = tmp_path_factory.mktemp("styles") / "joined.onnx"
    merge([palette, retrained], path, replace=True)
    return path


def photo() -> Floats:
    return np.random.default_rng(0).random((1, 3, 32, 40), dtype=np.float32)


def painted(style: Style, name: str, strength: float = 1.0) -> Floats:
    rows = style.spec.mix({name: 1.0}, strength=strength)
    return style.choose({name: 1.0}).runtime("cpu", "float32")(photo(), rows).copy()


@pytest.mark.parametrize("strength", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("name", ["one", "two", "three"])
def test_a_style_paints_as_before_it_was_joined(
    palette: Path, retrained: Path, joined: Path, name: str, strength: float
) -> None:
    style = read_style(joined)
    expected = painted(read_style(palette if name == "one" else retrained), name, strength)
    assert abs(painted(style, name, strength) - expected).mean() < 0.2 * LEVEL
    rows = style.spec.mix({name: 1.0}, strength=strength)
    by_rows = style.runtime("cpu", "float32")(photo(), rows)  # as any ONNX runtime does with the file as it is
    assert abs(by_rows - expected).mean() < 0.2 * LEVEL
    if name == "two" and strength == 1:
        assert abs(expected - painted(read_style(palette), "two")).mean() > 4 * LEVEL


def test_the_file_says_which_have_weights_of_their_own(joined: Path) -> None:
    spec = read_style(joined).spec
    assert [(entry.name, entry.own) for entry in spec.entries] == [("one", 0), ("two", 1), ("three", 1)]
    assert spec.owners.tolist() == [[0.0]] * 2 + [[1.0]] * 4
    assert StyleSpec.from_json(spec.to_json()) == spec


def test_a_blend_has_shares_of_them(joined: Path) -> None:
    style = read_style(joined)
    blend = style.choose({"one": 0.75, "three": 0.25})
    assert (blend.own, style.choose({"two": 1, "three": 1}).own) == (None, 1)
    rows = style.spec.mix(blend.weights, strength=0.8)
    expected = blended(joined, rows, share=0.25)
    assert abs(blend.runtime("cpu", "float32")(photo(), rows) - expected).mean() < 0.2 * LEVEL
    assert abs(blended(joined, rows, share=1.0) - expected).mean() > LEVEL


def blended(path: Path, rows: Floats, share: float) -> Floats:
    """What the network paints whose weights are `share` of the way from those that all styles have to the others."""
    none, own = (load_trainable(path.read_bytes(), "", number) for number in (0, 1))
    weights = {name: value + share * (own.state_dict()[name] - value) for name, value in none.state_dict().items()}
    none.load_state_dict(weights)
    with torch.inference_mode():
        values: Tensor = none(torch.from_numpy(photo()), torch.from_numpy(rows)[None])
    return values.clamp(0, 1).numpy()


def test_pytorch_paints_the_same(joined: Path) -> None:
    style = read_style(joined)
    for weights in ({"one": 1.0}, {"two": 1.0}, {"one": 0.5, "three": 0.5}):
        chosen, rows = style.choose(weights), style.spec.mix(weights)
        expected = chosen.runtime("cpu", "float32")(photo(), rows)
        net = load_network(chosen.data)
        assert (net.own is None) == (len(weights) == 1)
        np.testing.assert_allclose(net(torch.from_numpy(photo()), torch.from_numpy(rows)), expected, atol=1e-4)
        exact, rounded = (TorchRuntime(chosen.data, "cpu", precision) for precision in ("float32", "bfloat16"))
        np.testing.assert_allclose(exact(photo(), rows), expected, atol=1e-4)
        assert abs(rounded(photo(), rows) - expected).mean() < 4 * LEVEL


def test_weights_are_settled_before_it_is_compiled(joined: Path, palette: Path) -> None:
    style = read_style(joined)
    assert style.data is style.stored  # of which style it will be is not known yet
    one, two, three = (style.choose({name: 1.0}) for name in ("one", "two", "three"))
    assert any(name.startswith(ADDED) for name in weights_of(style.stored))
    assert not any(name.startswith(ADDED) for name in weights_of(one.data))
    assert any(name.endswith(".conv.weight" + OWN) for name in weights_of(one.data))
    assert len({one.data, two.data, style.stored}) == 3
    assert two.data == three.data
    assert two.runtime("cpu", "float32") is three.runtime("cpu", "float32")
    assert two.runtime("cpu", "float32") is not one.runtime("cpu", "float32")
    assert read_style(palette).choose({"one": 1.0}).data == palette.read_bytes()
    again = one.__reduce__()
    assert again[1][1] == style.stored


def test_tiles_agree(joined: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (30, 41, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    style = read_style(joined)
    for weights in ({"three": 1.0}, {"one": 0.5, "two": 0.5}):
        whole, tiled = (stylize(pixels, style.choose(weights), tile=t, precision="float32") for t in (WHOLE, 1))
        difference = whole.astype(int) - tiled
        assert 10 * np.log10(255**2 / (difference**2).mean()) > 45
        assert whole.std() > 5


def test_joined_again_they_keep_their_weights(joined: Path, palette: Path, retrained: Path, tmp_path: Path) -> None:
    net = load_trainable(palette.read_bytes(), "")
    assert isinstance(net, StyleNet)
    fourth = with_rows(net, {name: 0.5 * table.detach()[:2] for name, table in tables(net).items()})
    export_style(fourth, tmp_path / "fourth.onnx", palette_spec(fourth, ("four",)))
    spec = merge([tmp_path / "fourth.onnx", joined], tmp_path / "again.onnx")
    assert [(entry.name, entry.own) for entry in spec.entries] == [("four", 0), ("one", 0), ("two", 1), ("three", 1)]
    style = read_style(tmp_path / "again.onnx")
    for name, source in (("four", "fourth.onnx"), ("one", palette), ("three", retrained)):
        expected = painted(read_style(tmp_path / source), name)
        assert abs(painted(style, name) - expected).mean() < 0.2 * LEVEL
    # And from the other side, where what all had in the first is an addition to the retrained weights.
    assert merge([retrained, joined], tmp_path / "other.onnx", replace=True).names == ["three", "two", "one"]
    other = read_style(tmp_path / "other.onnx")
    for name in other.spec.names:
        assert abs(painted(other, name) - painted(style, name)).mean() < 0.2 * LEVEL


def test_a_name_twice_needs_to_be_replaced(palette: Path, retrained: Path, tmp_path: Path) -> None:
    with pytest.raises(StyleError, match="two palettes have a style two; --replace takes the last one's"):
        merge([palette, retrained], tmp_path / "both.onnx")
    assert not [*tmp_path.iterdir()]


def test_training_goes_on_from_a_style_that_the_base_has(joined: Path, palette: Path, retrained: Path) -> None:
    entries = tuple(StyleEntry(name=name, strokes=(64, 96)) for name in ("new", "three"))
    file, before = read_style(joined), load_trainable(retrained.read_bytes(), "")
    net = extended(file, entries, unfreeze=True)
    for name, value in net.state_dict().items():
        if name not in tables(net):
            torch.testing.assert_close(value, before.state_dict()[name], rtol=0, atol=3e-3)
    for name, table in tables(net).items():
        rows = before.state_dict()[name]  # of three, and two
        torch.testing.assert_close(table[2:], rows[:2], rtol=0, atol=3e-3)
        torch.testing.assert_close(table[:2], rows.mean(0, keepdim=True).expand(2, -1), rtol=0, atol=3e-3)
    assert all(value.requires_grad for value in net.parameters())

    kept, base = extended(file, entries, unfreeze=False), load_trainable(palette.read_bytes(), "")
    for name, value in kept.state_dict().items():
        if name in tables(kept):  # of all that are there only those of one are of these weights
            mean = base.state_dict()[name][:2].mean(0, keepdim=True)
            torch.testing.assert_close(value, mean.expand(4, -1), rtol=0, atol=3e-3)
        else:
            torch.testing.assert_close(value, base.state_dict()[name], rtol=0, atol=3e-3)

    narrow = extended(file, (StyleEntry(name="one", strokes=(80,)),), unfreeze=False)  # its sizes are others
    assert all(len(table) == 1 for table in tables(narrow).values())


def test_a_file_whose_own_weights_are_none_is_refused(joined: Path) -> None:
    style = read_style(joined)
    for own in (-1, 2, 10**12, True, "1", 0.5, None):
        entries = (style.spec.entries[0], replace(style.spec.entries[1], own=own))  # type: ignore[arg-type]
        spec = replace(style.spec, entries=entries)
        with pytest.raises(ValueError, match="weights of its own that are none"):
            StyleSpec.from_json(spec.to_json())
    with pytest.raises(ValueError, match="weights of its own that are none"):
        replace(style.spec, entries=(StyleEntry(name="one", own=1),)).check()


def test_a_file_that_lacks_them_paints_without(palette: Path, tmp_path: Path) -> None:
    style = read_style(palette)
    entries = tuple(replace(entry, own=1) for entry in style.spec.entries)
    lying = palette.read_bytes().replace(b'"own": 0', b'"own": 1')
    assert StyleSpec.from_json(replace(style.spec, entries=entries).to_json()).owners.shape == (4, 1)
    chosen = Style(replace(style.spec, entries=entries), lying, "lying", {"one": 1.0})
    rows = style.spec.mix({"one": 1.0})
    np.testing.assert_array_equal(chosen.runtime("cpu", "float32")(photo(), rows), painted(style, "one"))
    net = load_network(lying)
    np.testing.assert_allclose(net(torch.from_numpy(photo()), torch.from_numpy(rows)), painted(style, "one"), atol=1e-4)
    (tmp_path / "lying.onnx").write_bytes(lying)
    with pytest.raises(StyleError, match=r"lying\.onnx: its graph has no weights own\.added of a StyleNet"):
        merge([palette, tmp_path / "lying.onnx"], tmp_path / "both.onnx", replace=True)


def test_a_file_that_openvino_alone_can_read_is_told(joined: Path) -> None:
    style = read_style(joined)
    odd = Style(style.spec, style.stored + b"\x0b", "odd", {"two": 1.0})  # a field of a kind that is out of use
    with pytest.raises(StyleError, match=r"odd: not a readable ONNX file .field of unknown kind 3"):
        odd.runtime("cpu")


def test_nothing_painted_is_the_photo(joined: Path) -> None:
    style = read_style(joined)
    rows = np.zeros(style.spec.rows, np.float32)
    rows[0] = 1
    np.testing.assert_array_equal(style.runtime("cpu", "float32")(photo(), rows), photo())


def test_a_style_that_is_trained_again_keeps_what_is_said_of_it(tmp_path: Path) -> None:
    net = random_palette(("one",))
    entry = StyleEntry(
        name="one", title="T", year="1900", strength=0.7, strokes=(64, 96), stroke=64, figures={"style": 1}
    )
    export_style(net, tmp_path / "base.onnx", replace(palette_spec(net, ("one",)), entries=(entry,)))
    config = TrainConfig(
        (Path("one.png"), Path("new.png")),
        photos=tmp_path,
        output=tmp_path / "out.onnx",
        base=str(tmp_path / "base.onnx"),
        style_size=(64, 128),
        about={"one": {"year": "1901"}},
    )
    one, new = make_entries(config)
    assert one == replace(entry, year="1901", strokes=(64, 128), figures={})
    assert new == StyleEntry(name="new", strokes=(64, 128))
    other = replace(config, style_size=(96, 128), about={"one": {"stroke": "128", "strength": "1"}})
    assert make_entries(other)[0] == replace(one, year="1900", strength=1.0, stroke=128, strokes=(96, 128))
    assert make_entries(replace(other, about={}))[0].stroke is None
