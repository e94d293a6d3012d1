"""A painting as the style of a request, by engines of which every result is known: they paint its mean colour."""

import base64
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from clipmaker import blocks, write_clip
from impasto.recipes import read_recipe
from impasto.web.children import KEPT, Paintings
from impasto.web.options import parse
from impasto.web.refusal import Refusal
from serving import Pixels, Server, encoded, follow, refused, serving, with_engines

RED, BLUE = (200, 20, 40), (10, 30, 220)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What has a server, and its processes, find the engines of the tests."""
    return with_engines(tmp_path_factory.mktemp("engines"))


@pytest.fixture(scope="module")
def server(environment: dict[str, str]) -> Iterator[Server]:
    with serving("--megapixels", "1", "--upload-mb", "1", **environment) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with server.client() as made:
        yield made


def plain(color: tuple[int, int, int], size: tuple[int, int] = (60, 40)) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, color).save(stream, "PNG")
    return stream.getvalue()


def photo(height: int = 20, width: int = 30) -> bytes:
    return encoded(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


def post(client: httpx.Client, painting: bytes, mask: bytes | None = None, **fields: Any) -> httpx.Response:
    files = {"photo": ("x", photo()), "painting": ("y", painting)} | ({} if mask is None else {"mask": ("z", mask)})
    return client.post("/v1/stylize", files=files, data={"format": "png", **fields})


def color(answer: httpx.Response, part: slice = slice(None)) -> list[int]:
    assert answer.status_code == 200, answer.text
    pixels: Pixels = np.asarray(Image.open(io.BytesIO(answer.content)))
    return [round(value) for value in pixels[:, part, :3].mean((0, 1))]


def test_a_photo_is_painted_after_a_painting(client: httpx.Client) -> None:
    assert client.get("/v1/info").json()["engines"] == ["adain", "wct"]
    for painting in (RED, BLUE, RED):
        assert color(post(client, plain(painting))) == [*painting]
    assert color(post(client, plain(RED), engine="wct", stroke="1.5")) == [*RED]
    half = color(post(client, plain(RED), strength="0.5"))
    assert half != [*RED]
    assert half[0] < 200


def test_a_mask_and_a_painting_with_alpha(client: httpx.Client) -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[:, :15] = 255
    answer = post(client, encoded(np.full((9, 12, 4), (*RED, 30), np.uint8)), encoded(mask))
    assert color(answer, slice(15)) == [*RED]
    kept = np.asarray(Image.open(io.BytesIO(answer.content)))[:, 15:]
    np.testing.assert_array_equal(kept, np.asarray(Image.open(io.BytesIO(photo())))[:, 15:])


def test_the_recipe_makes_it_again(client: httpx.Client, environment: dict[str, str], tmp_path: Path) -> None:
    for name, data in (("photo", photo()), ("painting", plain(BLUE))):
        (tmp_path / name).write_bytes(data)
    (tmp_path / "out.png").write_bytes(post(client, plain(BLUE), strength="0.7").content)
    assert read_recipe(tmp_path / "out.png")["settings"]["paintings"] == {"painting": 1.0}
    command = [sys.executable, "-m", "impasto", "redo", "out.png", "-o", "again.png"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    first, again = (np.asarray(Image.open(tmp_path / name)) for name in ("out.png", "again.png"))
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"style": "candy"}, "style came with a painting"),
        ({"engine": "gatys"}, "adain, wct"),
        ({"engine": "../adain"}, "adain, wct"),
        ({"strength": "2"}, "strength"),
    ],
)
def test_wrong_fields(client: httpx.Client, fields: dict[str, str], word: str) -> None:
    refused(post(client, plain(RED), None, **fields), 422, "wrong_value", word)
    answer = client.post("/v1/stylize", files={"photo": photo()}, data={"style": "candy", "engine": "wct"})
    refused(answer, 422, "wrong_value", "painting")


def test_hostile_paintings_cost_only_their_request(client: httpx.Client) -> None:
    refused(post(client, b"no picture"), 422, "unreadable", "the painting")
    refused(post(client, b"\x08\x08\x12\x07pytorch"), 422, "unreadable")
    refused(post(client, plain(RED, (1500, 1000))), 413, "too_large", "the painting")
    refused(post(client, plain(RED)[:50]), 422, "unreadable")
    refused(post(client, b""), 422, "", "empty")
    assert color(post(client, plain(RED, (1, 300)))) == [*RED]


def test_a_webcam_is_painted_after_a_painting(server: Server) -> None:
    with server.live(server.url) as live:
        live.send(json.dumps({"painting": base64.b64encode(plain(RED)).decode(), "engine": "adain"}))
        assert json.loads(live.recv()) == {"style": {"painting": 1.0}}
        live.send(photo())
        painted = Image.open(io.BytesIO(live.recv()))  # type: ignore[arg-type]
        assert np.abs(np.asarray(painted).mean((0, 1)) - RED).max() < 3
        for wrong in ("%%%", "a", base64.b64encode(b"no picture").decode()):
            live.send(json.dumps({"painting": wrong}))
            if "error" not in json.loads(live.recv()):
                live.send(photo())
                assert json.loads(live.recv())["error"]["code"] == "unreadable"


def test_a_video_is_painted_after_a_painting(client: httpx.Client, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", blocks(48, 64, 5)).read_bytes()
    files = {"video": ("a", clip), "painting": ("b", plain(BLUE))}
    job = client.post("/v1/jobs", files=files, data={"kind": "video", "engine": "wct"}).json()["id"]
    told = follow(client, job)
    assert (told[-1]["state"], told[-1]["name"]) == ("done", "painting"), told[-1]
    picture = np.asarray(Image.open(io.BytesIO(client.get(f"/v1/jobs/{job}/picture").content)))
    assert np.abs(picture.mean((0, 1)) - BLUE).max() < 4
    files["painting"] = ("b", b"no picture")
    refused(client.post("/v1/jobs", files=files, data={"kind": "video"}), 422, "unreadable", "painting")


def test_a_painting_is_encoded_once_and_only_some_are_kept(engines: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from impasto import paintings

    counted: list[int] = []
    before = paintings.measure

    def counting(image: Pixels) -> paintings.Statistics:
        counted.append(1)
        return before(image)

    monkeypatch.setattr(paintings, "measure", counting)
    pixels = np.full((8, 8, 3), RED, np.uint8)
    kept = Paintings()
    asked = {"file": str(engines / "adain.onnx"), "weights": {"painting": 1.0}}
    assert kept.style(asked | {"painting": "0"}, None) is None
    first = kept.style(asked | {"painting": "0"}, pixels)
    assert kept.style(asked | {"painting": "0"}, None) is first
    assert len(counted) == 1
    for number in range(1, KEPT):
        kept.style(asked | {"painting": str(number)}, pixels)
    assert kept.style(asked | {"painting": "0"}, None) is first  # used again, it is not the oldest any more
    kept.style(asked | {"painting": "another"}, pixels)
    assert len(kept.styles) == KEPT
    assert kept.style(asked | {"painting": "0"}, None) is first
    assert kept.style(asked | {"painting": "1"}, None) is None


def test_where_no_engine_is_installed_it_is_told(engines: Path) -> None:
    assert parse({}, {}, painting=True).engine == "adain"
    (engines / "painting.onnx").unlink()
    with pytest.raises(Refusal, match="no engine that paints after any painting") as caught:
        parse({}, {}, painting=True)
    assert (caught.value.status, caught.value.code) == (422, "missing_engine")
