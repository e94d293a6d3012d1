import contextlib
import json
import os
import pickle
import string
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from conftest import colors_model, invert_model, invert_spec
from impasto import paintings, styles
from impasto.errors import StyleError
from impasto.runtimes import OpenVINORuntime, load_model
from impasto.specs import FORMAT, StyleEntry, StyleSpec
from impasto.styles import MAX_BYTES, builtin_styles, find_style, load_style, parse_style, read_style, zoo

Save = Callable[[onnx.ModelProto | bytes], Path]

text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=5,
)
mappings = st.dictionaries(text, values, max_size=4)
about: dict[str, Any] = {"name": text.filter(bool), "title": text, "artist": text, "year": text, "rights": text}
about |= {"strength": st.floats(0, 1), "figures": st.dictionaries(text, st.floats(allow_nan=False), max_size=3)}
strokes = st.lists(st.integers(1, 1 << 16), min_size=1, max_size=3, unique=True).map(lambda sizes: tuple(sorted(sizes)))
palettes = st.lists(st.builds(StyleEntry, **about, strokes=strokes), min_size=1, max_size=3, unique_by=lambda e: e.name)
entries = st.builds(StyleEntry, **about).map(lambda entry: [entry]) | palettes
specs = st.builds(
    StyleSpec,
    architecture=text,
    arguments=mappings,
    entries=entries.map(tuple),
    multiple=st.integers(1, 64),
    min_size=st.integers(1, 1024),
    recipe=mappings,
)


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Write a model as a file and return its path."""

    def write(model: onnx.ModelProto | bytes) -> Path:
        path = tmp_path / "mine.onnx"
        path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
        return path

    return write


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch, invert: Path) -> dict[str, dict[str, str]]:
    """Built-in styles of which each is the one that inverts."""
    names = {name: {"file": "invert.onnx", "title": name.title()} for name in ("candy", "mosaic", "starry_night")}
    monkeypatch.setattr(styles, "builtin_styles", lambda: names)
    monkeypatch.setattr(styles, "zoo", lambda: invert.parent)
    return names


def fails(path: Path, *words: str) -> None:
    """Assert that reading `path` is one StyleError on one line that names the file and has the words."""
    with pytest.raises(StyleError) as caught:
        read_style(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    for word in words:
        assert word in message


# ------------------------------------------------------------------------------------------------------------- spec


@given(specs)
def test_spec_round_trip(spec: StyleSpec) -> None:
    assert StyleSpec.from_json(spec.to_json()) == spec


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(specs)
def test_spec_round_trip_through_a_file(spec: StyleSpec) -> None:
    spec = replace(spec, entries=(replace(spec.entries[0], strokes=()),))
    assert parse_style(invert_model(spec).SerializeToString(), "mine.onnx") == spec


def test_spec_name_is_its_first_style() -> None:
    spec = replace(invert_spec(), entries=(StyleEntry(name="one"), StyleEntry(name="two")))
    assert spec.names[0] == "one"


def test_unknown_keys_are_passed_over() -> None:
    data = asdict(invert_spec()) | {"later": 1}
    data["entries"][0]["stroke_px"] = 12
    assert StyleSpec.from_json(json.dumps(data)) == invert_spec()


def test_optional_keys_may_be_missing() -> None:
    spec = StyleSpec.from_json('{"format": 1, "architecture": "A", "arguments": {}, "entries": [{"name": "a"}]}')
    assert (spec.multiple, spec.min_size, spec.recipe, spec.entries) == (4, 8, {}, (StyleEntry(name="a"),))


WRONG: dict[str, Any] = {
    "format": [FORMAT + 1, None, "1", 1.0],
    "architecture": [1, None],
    "arguments": [[], "a", None],
    "entries": [[], {}, None, 3, "abc", [3], [None], ["name"], [{}], [{"name": ""}], [{"name": 3}]],
    "multiple": [0, -4, 65, "4", 4.0, True, None, 1e308],
    "min_size": [0, 1025, "8", None, [8]],
    "recipe": [[], None, "a"],
}
WRONG["entries"] += [
    [{"name": "a"} | wrong]
    for wrong in (
        {"strength": 2},
        {"strength": "1"},
        {"strength": None},
        {"stroke": 3},
        {"strokes": [3], "stroke": 3.0},
        {"figures": [1]},
        {"figures": None},
        {"figures": {"style": "good"}},
    )
]


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, wrong in WRONG.items() for v in wrong])
def test_wrong_values_are_refused(key: str, value: object) -> None:
    with pytest.raises(ValueError, match=r"^(its description|not a style's description|format 2 is newer)") as caught:
        StyleSpec.from_json(json.dumps(asdict(invert_spec()) | {key: value}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["format", "architecture", "arguments", "entries"])
def test_missing_values_are_refused(key: str) -> None:
    data = asdict(invert_spec())
    del data[key]
    with pytest.raises(ValueError, match="description"):
        StyleSpec.from_json(json.dumps(data))


@pytest.mark.parametrize("data", ["", "{", "[]", "3", "null", '"a"', "{}", "[" * 100_000, "\ud800"])
def test_what_is_no_spec_is_a_value_error(data: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        StyleSpec.from_json(data)


# ------------------------------------------------------------------------------------------------------------- files


def test_a_style_is_read(invert: Path) -> None:
    style = read_style(invert)
    assert style.spec == invert_spec()
    assert repr(style) == f"Style({str(invert)!r}, 'invert')"
    image = np.linspace(0, 1, 3 * 8 * 12, dtype=np.float32).reshape(1, 3, 8, 12)
    np.testing.assert_array_equal(style.runtime(precision="float32")(image), 1 - image)


def test_a_runtime_is_compiled_once_for_each_device_and_precision(invert: Path) -> None:
    style = read_style(invert)
    assert style.runtime("cpu", "float32") is style.runtime("cpu", "float32")
    assert style.runtime("cpu", "float32") is not style.runtime("cpu", "auto")


def test_an_exported_style_is_read(tiny: Path) -> None:
    spec = read_style(tiny).spec
    assert (spec.names[0], spec.architecture, spec.arguments["width"]) == ("tiny", "TransformerNet", 4)


def test_an_output_of_two_names_is_found(save: Save) -> None:
    """OpenVINO takes out a node that does nothing and keeps both its names."""
    assert read_style(save(invert_model(invert_spec(), extra=("Identity",)))).spec == invert_spec()


def test_a_newer_format_is_refused(save: Save) -> None:
    spec = asdict(invert_spec()) | {"format": FORMAT + 1}
    fails(save(invert_model(json.dumps(spec))), "newer", "update impasto")


def test_foreign_onnx_is_refused(save: Save) -> None:
    fails(save(invert_model(None)), "not an Impasto style", "impasto train or convert")


@pytest.mark.parametrize("spec", ["", "{", "[]", "{}", "[" * 100_000, '{"format": 1}'])
def test_a_broken_spec_in_a_file_is_refused(save: Save, spec: str) -> None:
    fails(save(invert_model(spec)))


@pytest.mark.parametrize(
    "model",
    [
        invert_model(invert_spec(), names=("x", "stylized")),
        invert_model(invert_spec(), names=("image", "y")),
        invert_model(invert_spec(), extra=("Add", "second")),
        invert_model(invert_spec(), shape=(1, 1, "h", "w")),
        invert_model(invert_spec(), shape=(1, 4, 8, 8)),
        invert_model(invert_spec(), shape=(3, "h", "w")),
    ],
    ids=["input", "output", "two inputs", "grey", "four channels", "three dimensions"],
)
def test_wrong_inputs_and_outputs_are_refused(save: Save, model: onnx.ModelProto) -> None:
    fails(save(model), "it should take")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x08",
        b"nonsense",
        b"\x08\x0a" + b"\xff" * 100,
        b"<?xml version='1.0'?><net name='a' version='11'><layers/></net>",
        b"\x89PNG\r\n\x1a\n",
    ],
)
def test_what_is_no_onnx_is_refused(save: Save, data: bytes) -> None:
    fails(save(data), "not a readable ONNX file")


def test_a_path_inside_a_file_is_not_followed(save: Save, invert: Path) -> None:
    """OpenVINO takes text for a path, or for its own format."""
    fails(save(str(invert).encode()), "not a readable ONNX file")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(save: Save, tiny: Path, share: float) -> None:
    data = tiny.read_bytes()
    fails(save(data[: int(len(data) * share)]))


@example(position=150, value=128)  # a name that is no UTF-8
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 10**6), value=st.integers(0, 255))
def test_a_damaged_file_is_a_style_or_a_style_error(invert_bytes: bytes, position: int, value: int) -> None:
    data = bytearray(invert_bytes)
    data[position % len(data)] = value
    with contextlib.suppress(StyleError):
        parse_style(bytes(data), "mine.onnx")


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in ("nothing.onnx", "a/b.onnx", "file/b.onnx"):
        fails(tmp_path / path, "cannot read the style file: there is no such file; check the path")
    fails(tmp_path, "cannot read the style file: Is a directory")


def test_a_huge_file_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "huge.onnx"
    with path.open("wb") as stream:
        stream.truncate(MAX_BYTES + 1)  # sparse
    monkeypatch.setattr(styles, "parse_style", lambda *_: pytest.fail("was read"))
    fails(path, "larger than any style")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="there is no /dev/zero")
def test_an_endless_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(styles, "MAX_BYTES", 1 << 20)
    fails(Path("/dev/zero"), "larger than any style")


# ------------------------------------------------------------------------------------------------------ external data


def field(key: bytes, payload: bytes) -> bytes:
    """A protobuf field of bytes, under 16 KiB."""
    return key + bytes([len(payload) & 127 | 128, len(payload) >> 7]) + payload


def external_model(entry: bytes) -> bytes:
    """A style whose graph subtracts from weights that `entry`, an encoded key and value, says where to find."""
    tensor = helper.make_tensor("one", TensorProto.FLOAT, [], [1.0])
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    model = invert_model(invert_spec())
    del model.graph.initializer[:]
    graph = model.graph.SerializeToString()
    model.ClearField("graph")
    weights = field(b"\x2a", tensor.SerializeToString() + field(b"\x6a", entry))
    return bytes(model.SerializeToString()) + field(b"\x3a", graph + weights)


LOCATION = b"\x0a\x08location"
KEYS = [
    LOCATION,
    b"\x8a\x00\x08location",
    b"\x8a\x80\x80\x80\x00\x08location",
    b"\x8a\x80\x80\x80\x10\x08location",
    b"\x0a\x88\x00location",
    b"\x0a\x88\x80\x80\x80\x00location",
    b"\x8a\x80\x00\x88\x80\x00location",
]


def test_openvino_would_read_external_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Why the next test matters: what a style names is read from the working directory."""
    monkeypatch.chdir(tmp_path)
    Path("secret.bin").write_bytes(np.float32(0.25).tobytes())
    data = external_model(LOCATION + b"\x12\x0asecret.bin")
    painted = OpenVINORuntime(data, precision="float32")(np.zeros((1, 3, 8, 8), np.float32))
    assert (painted == 0.25).all()


@pytest.mark.parametrize("key", KEYS)
def test_external_data_is_refused_however_it_is_encoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save: Save, key: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("secret.bin").write_bytes(np.float32(0.25).tobytes())
    fails(save(external_model(key + b"\x12\x0asecret.bin")), "another file")


def test_external_data_of_onnx_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = invert_model(invert_spec())
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.ones((1, 3, 1, 1), np.float32), "one"))
    onnx.save(model, "mine.onnx", save_as_external_data=True, location="mine.bin", size_threshold=0)
    assert Path("mine.bin").stat().st_size > 0
    fails(Path("mine.onnx"), "another file", "save it as one file")


def test_a_recipe_may_speak_of_a_location(save: Save) -> None:
    spec = replace(invert_spec(), recipe={"location": "\nlocation", "\x08location": "location"})
    assert read_style(save(invert_model(spec))).spec == spec


# -------------------------------------------------------------------------------------------------- names and finding


@pytest.mark.parametrize("name", sorted(builtin_styles()))
def test_a_built_in_style_is_complete(name: str) -> None:
    entry = builtin_styles()[name]
    assert (zoo() / entry["file"]).is_file()
    assert all(isinstance(entry[key], str) for key in ("title", "artist", "year", "rights"))
    style = load_style(name)
    assert style.name == name
    inside = next(asdict(said) for said in style.spec.entries if said.name == name)
    assert entry == {key: inside.get(key, entry["file"]) for key in entry}
    assert set(name) <= set(string.ascii_lowercase + string.digits + "_")


def test_no_style_file_is_left_out_of_the_index() -> None:
    assert {path.name for path in zoo().glob("*.onnx")} == {entry["file"] for entry in builtin_styles().values()}


def test_a_name_finds_its_file(index: dict[str, Any], invert: Path) -> None:
    assert all(find_style(name) == invert for name in index)


@pytest.mark.usefixtures("index")
@pytest.mark.parametrize(
    ("name", "near"), [("cand", "candy"), ("starry-night", "starry_night"), ("starry", "starry_night")]
)
def test_an_unknown_name_gets_the_nearest(name: str, near: str) -> None:
    with pytest.raises(StyleError, match=f"^unknown style '{name}'; did you mean {near}"):
        find_style(name)


@pytest.mark.usefixtures("index")
@pytest.mark.parametrize("name", ["xyzzy", "", ".", "a\nb"])
def test_a_name_that_is_near_nothing_gets_the_list(name: str) -> None:
    with pytest.raises(StyleError, match=r"^unknown style .*; impasto styles lists the built-in ones$") as caught:
        find_style(name)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("index")
def test_paths_are_told_from_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("plain").write_bytes(b"")
    for path in ("missing.onnx", "folder/missing", "plain", "MISSING.ONNX"):
        assert find_style(path) == Path(path)
    Path("candy").write_bytes(b"")  # a built-in name is not hidden by a file that happens to be here
    assert find_style("candy") != Path("candy")
    assert find_style(Path("candy").absolute()) == Path("candy").absolute()


@pytest.mark.parametrize("suffix", [".jpg", ".PNG", ".webp"])
def test_a_painting_is_told_from_a_style(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paintings, "engines_folder", lambda: tmp_path)  # which has no engines
    path = tmp_path / f"painting{suffix}"
    Image.new("RGB", (8, 8)).save(path)
    with pytest.raises(StyleError, match=r"a picture, not a style file, .* learn a style from it with impasto train"):
        load_style(path)
    with pytest.raises(StyleError, match="a picture, not a style file; learn a style from it with impasto train"):
        find_style(path)


# ----------------------------------------------------------------------------------------------------------- loading


def test_a_style_is_loaded_once(invert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(invert.parent)
    style = load_style(invert)
    assert load_style(str(invert)) is style
    assert load_style("invert.onnx") is style


def test_a_changed_file_is_loaded_anew(save: Save) -> None:
    path = save(invert_model(invert_spec("first")))
    before = load_style(path)
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    save(invert_model(invert_spec("another")))
    os.utime(path, ns=times)
    assert (before.spec.names[0], load_style(path).spec.names[0]) == ("first", "another")


def test_a_failure_is_not_kept(save: Save, tmp_path: Path) -> None:
    with pytest.raises(StyleError, match="cannot read the style file"):
        load_style(tmp_path / "mine.onnx")
    path = save(b"broken")
    with pytest.raises(StyleError, match="not a readable ONNX file"):
        load_style(path)
    save(invert_model(invert_spec()))
    assert load_style(path).spec.names[0] == "invert"


def test_describe_tells_of_unknown_shapes() -> None:
    model = invert_model(None, shape=("n", "c", "h", "w")).SerializeToString()
    assert load_model(model, "mine").describe("impasto") == (None, {"image": -1}, {"stylized": -1})


# ---------------------------------------------------------------------------------------------------------- palettes


def test_rows_of_a_palette_are_the_photo_and_each_style_by_strokes(colors: Path) -> None:
    spec = read_style(colors).spec
    assert (spec.names, spec.rows) == (["red", "blue"], 7)
    assert spec.mix({"red": 1.0}).tolist() == [0, 0, 1, 0, 0, 0, 0]
    assert spec.mix({"blue": 1.0}, size=100).tolist() == [0, 0, 0, 0, 1, 0, 0]
    assert spec.mix({"red": 0.5, "blue": 0.5}, strength=0.5, size=400).tolist() == [0.5, 0, 0, 0.25, 0, 0, 0.25]
    np.testing.assert_allclose(spec.mix({"red": 1.0}, size=100 * 2**0.5), [0, 0.5, 0.5, 0, 0, 0, 0], atol=1e-6)
    assert spec.mix({"red": 1.0}, size=9999).tolist() == [0, 0, 0, 1, 0, 0, 0]
    assert spec.mix({"red": 1.0}).dtype == np.float32


@given(red=st.floats(0, 1), strength=st.floats(0, 1), size=st.one_of(st.none(), st.floats(1, 10_000)))
def test_rows_always_sum_to_one(red: float, strength: float, size: float | None) -> None:
    entries = tuple(StyleEntry(name=name, strokes=(100, 200, 300)) for name in ("red", "blue"))
    rows = replace(invert_spec(), entries=entries).mix({"red": red, "blue": 1 - red}, strength=strength, size=size)
    assert rows.sum() == pytest.approx(1, abs=1e-5)
    assert rows.min() >= 0


def test_a_style_of_a_palette_is_chosen_by_name(colors: Path) -> None:
    style = load_style(f"{colors}:blue")
    assert (style.name, dict(style.weights)) == ("blue", {"blue": 1.0})
    assert load_style(f"{colors}:red").runtime("cpu", "float32") is style.runtime("cpu", "float32")


def test_weights_of_a_blend_are_made_to_sum_to_one(colors: Path) -> None:
    blend = load_style(f"{colors}:red:3, {colors}:blue:1")
    assert blend.weights == {"red": 0.75, "blue": 0.25}
    assert blend.name == "red-blue"
    assert load_style(f"{colors}:red,{colors}:blue:0").weights == {"red": 1.0}
    assert load_style(f"{colors}:red,{colors}:blue,{colors}:red").weights == pytest.approx(
        {"red": 2 / 3, "blue": 1 / 3}
    )


def test_built_in_styles_are_blended_by_name(colors: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = {name: {"file": str(colors), "title": name} for name in ("red", "blue")}
    monkeypatch.setattr(styles, "builtin_styles", lambda: index)
    assert load_style("red").weights == {"red": 1.0}
    assert load_style("red:0.5,blue:1.5").weights == {"red": 0.25, "blue": 0.75}


def test_the_built_in_palette_goes_by_its_name_too() -> None:
    assert load_style("palette:mosaic").weights == {"mosaic": 1.0}
    assert load_style("palette:mosaic:3,candy").weights == {"mosaic": 0.75, "candy": 0.25}
    with pytest.raises(StyleError, match="has no style 'mosaik'; did you mean mosaic"):
        load_style("palette:mosaik")
    with pytest.raises(ValueError, match="a weight is a number"):
        load_style("candy:mosaic")


def test_a_palette_wants_a_name(colors: Path) -> None:
    for name in (colors, str(colors), f"{colors}:0.5"):
        with pytest.raises(StyleError, match=r"colors.onnx: holds red, blue; name one, as in .*colors.onnx:red"):
            load_style(name)


def test_a_name_that_a_palette_does_not_have_is_told(colors: Path, invert: Path) -> None:
    with pytest.raises(StyleError, match="has no style 'rod'; did you mean red"):
        load_style(f"{colors}:rod")
    with pytest.raises(StyleError, match="has no style 'red'; did you mean invert"):
        load_style(f"{invert}:red")


def test_styles_of_several_files_are_not_blended(colors: Path, invert: Path) -> None:
    with pytest.raises(StyleError, match=r"styles of several files cannot be blended; .*impasto palette merge"):
        load_style(f"{colors}:red,{invert}")


@pytest.mark.parametrize("weight", ["-1", "x", "nan", "inf", "1:2"])
def test_a_wrong_weight_is_told(colors: Path, weight: str) -> None:
    with pytest.raises((StyleError, ValueError), match=r"a weight is a number|has no style|unknown style"):
        load_style(f"{colors}:red:{weight},{colors}:blue")


@pytest.mark.parametrize(
    "weights", [{}, {"red": 0.0}, {"red": -1.0, "blue": 2.0}, {"red": 1e308, "blue": 1e308}], ids=str
)
def test_weights_that_sum_to_nothing_are_told(colors: Path, weights: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="they must be at least 0, and not all 0"):
        read_style(colors).choose(weights)
    if weights:
        with pytest.raises(ValueError, match=r"must be at least 0|a weight is a number"):
            load_style(",".join(f"{colors}:{name}:{weight}" for name, weight in weights.items()))


def test_a_blend_longer_than_a_path_may_be_is_read(colors: Path) -> None:
    assert load_style(",".join([f"{colors}:red"] * 60)).weights == {"red": pytest.approx(1.0)}
    with pytest.raises(StyleError, match="unknown style"):
        load_style("x" * 5000)


@pytest.mark.parametrize("name", ["candy", "Starry Night", "ünï", "x-1.2"])
def test_names_that_can_be_asked_for(name: str) -> None:
    assert styles.is_name(name)


@pytest.mark.parametrize("name", ["x (no", "1889", "1e5", "a,b", "a:b", "../x", ".x", "", " ", "nan", "e\x1b"])
def test_names_that_cannot_be_asked_for(name: str) -> None:
    assert not styles.is_name(name)


def test_a_file_whose_name_has_a_comma_or_colon_is_a_file(invert_bytes: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a,b:c"
    path.write_bytes(invert_bytes)
    assert load_style(str(path)).name == "invert"


def test_styles_of_a_palette_whose_path_has_a_comma_are_named_and_blended(colors: Path, tmp_path: Path) -> None:
    path = tmp_path / "a,b" / "c,d.onnx"
    path.parent.mkdir()
    path.write_bytes(colors.read_bytes())
    assert load_style(f"{path}:red").weights == {"red": 1.0}
    assert load_style(f"{path}:red:1,{path}:blue:3").weights == {"red": 0.25, "blue": 0.75}


@pytest.mark.parametrize(
    "strokes",
    [
        {"red": (100, 50, 200), "blue": (1, 2, 3)},
        {"red": (1, 1, 2), "blue": (1, 2, 3)},
        {"red": (1, 2, 3), "blue": ()},
        {"red": (0, 1, 2), "blue": (1, 2, 3)},
        {"red": (1.5, 2, 3), "blue": (1, 2, 3)},
        {"red": (1, 2), "blue": (1, 2, 3)},
    ],
    ids=str,
)
def test_stroke_sizes_that_cannot_be_are_refused(save: Save, strokes: dict[str, Any]) -> None:
    fails(save(colors_model(entries=tuple(StyleEntry(name=k, strokes=v) for k, v in strokes.items()))))


def test_a_name_twice_or_several_styles_without_rows_are_refused(save: Save) -> None:
    entry = StyleEntry(name="red", strokes=(1, 2, 3))
    fails(save(colors_model(entries=(entry, entry))), "names a style twice")
    fails(
        save(invert_model(replace(invert_spec(), entries=(StyleEntry(name="a"), StyleEntry(name="b"))))), "stroke sizes"
    )


def test_a_style_goes_to_another_process_without_what_is_compiled(colors: Path) -> None:
    style = load_style(f"{colors}:red:0.3,{colors}:blue:0.7")
    style.runtime()
    copied = pickle.loads(pickle.dumps(style))
    assert (copied.spec, copied.data, copied.source, copied.weights) == (
        style.spec, style.data, style.source, style.weights,
    )  # fmt: skip
    assert not copied._runtimes
    assert copied.runtime() is not style.runtime()
