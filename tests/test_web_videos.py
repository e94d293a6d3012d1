"""Videos as jobs of the HTTP API, over a real socket."""

import io
import json
import os
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest
from PIL import Image

from clipmaker import blocks, packets, stamps, write_clip
from impasto.errors import VideoError
from impasto.web import videos
from impasto.web.jobs import ENDS
from impasto.web.refusal import Refusal
from impasto.web.settings import ServeConfig
from impasto.web.store import Store
from serving import Server, encoded, follow, refused, serving

LIMITS = ("--video-mb", "1", "--video-megapixels", "0.1", "--video-minutes", "0.1", "--upload-mb", "0.5")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server keeps its files."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with serving("--data", str(folder), "--largest-video", "96", *LIMITS) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with server.client() as made:
        yield made
        for job in made.get("/v1/jobs").json():
            made.delete(f"/v1/jobs/{job['id']}")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A second and a half of 128 x 96 with sound, and a title."""
    path = tmp_path_factory.mktemp("clips") / "a.mp4"
    return write_clip(path, blocks(96, 128, 36), seconds_of_sound=1.44, metadata={"title": "A secret"}).read_bytes()


def post(client: httpx.Client, data: bytes, more: dict[str, bytes] | None = None, **fields: Any) -> httpx.Response:
    files = {"video": ("../../x.exe", data)} | {name: ("y", value) for name, value in (more or {}).items()}
    fields = {"style": "candy"} | fields
    told = {name: value for name, value in fields.items() if value is not None}
    return client.post("/v1/jobs", files=files, data={"kind": "video", **told})


def saved(client: httpx.Client, job: str, folder: Path) -> Path:
    """The result of a job, once it is done."""
    told = follow(client, job)
    assert told[-1]["state"] == "done", told[-1]
    answer = client.get(f"/v1/jobs/{job}/result")
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["content-disposition"] == 'attachment; filename="painting.mp4"'
    path = folder / "b.mp4"
    path.write_bytes(answer.content)
    return path


def frames(path: Path) -> list[Any]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


# ------------------------------------------------------------------------------------------------------------- painting


def test_a_video_is_painted_watched_and_fetched(
    client: httpx.Client, server: Server, clip: bytes, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.mp4").write_bytes(clip)
    answer = post(client, clip)
    assert answer.status_code == 202, answer.text
    job = answer.json()["id"]
    with server.client() as stranger:
        for path in ("", "/events", "/picture", "/result"):
            refused(stranger.get(f"/v1/jobs/{job}{path}"), 404, "unknown_job")
    told = follow(client, job)
    running = [event for event in told if event.get("step")]
    assert running[-1]["step"] == running[-1]["steps"] == 36
    assert all(event["frames_per_second"] > 0 and event["seconds_left"] >= 0 for event in running)
    assert [event["progress"] for event in running] == sorted(event["progress"] for event in running)
    assert told[-1]["name"] == "candy"
    painted = saved(client, job, tmp_path)
    assert stamps(painted) == stamps(tmp_path / "a.mp4")
    assert frames(painted)[0].shape == (72, 96, 3)  # the server's largest
    assert len(packets(painted, "audio")) > 60
    assert b"A secret" not in painted.read_bytes()
    with Image.open(io.BytesIO(client.get(f"/v1/jobs/{job}/picture").content)) as image:
        assert (image.format, image.size) == ("JPEG", (96, 72))
    part = client.get(f"/v1/jobs/{job}/result", headers={"Range": "bytes=0-99"})  # as a browser's player asks
    assert (part.status_code, len(part.content)) == (206, 100)
    assert not (folder / job / "video").exists()  # what is uploaded is not kept


def test_a_body_that_is_the_video(client: httpx.Client, clip: bytes, tmp_path: Path) -> None:
    address = "/v1/jobs?kind=video&style=candy:0.5,udnie:0.5&size=64&steady=0"
    answer = client.post(address, content=clip, headers={"Content-Type": "video/mp4"})
    assert answer.status_code == 202, answer.text
    assert answer.json()["name"] == "candy-udnie"
    assert frames(saved(client, answer.json()["id"], tmp_path))[0].shape == (48, 64, 3)


def test_a_mask_keeps_the_video(client: httpx.Client, clip: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(clip)
    mask = np.zeros((10, 20), np.uint8)
    mask[:, 10:] = 255
    job = post(client, clip, {"mask": encoded(mask)}, steady="0", quality="95").json()["id"]
    painted = np.stack(frames(saved(client, job, tmp_path))).astype(float)
    plain = np.stack([np.asarray(Image.fromarray(f).resize((96, 72))) for f in frames(tmp_path / "a.mp4")])
    difference = np.abs(painted - plain).mean((0, 1, 3))
    assert difference[:40].mean() < 6
    assert difference[56:].mean() > 12


def test_a_moving_gif_is_a_video_too(client: httpx.Client, tmp_path: Path) -> None:
    pictures = [Image.fromarray(pixels) for pixels in blocks(48, 64, 4)]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=80)
    job = post(client, (tmp_path / "a.gif").read_bytes()).json()["id"]
    assert len(frames(saved(client, job, tmp_path))) == 4


def test_a_style_of_a_visitor_is_copied_for_the_job(
    colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"job_" + "0" * 32: (colors, "red")}
    order = videos.order_video({"style": "job_" + "0" * 32}, {}, ServeConfig(), own)
    assert (order["own"], order["file"], order["name"]) == (True, str(colors), "red")
    assert not videos.order_video({"style": "candy"}, {}, ServeConfig(), own)["own"]
    monkeypatch.chdir(tmp_path)
    Path(videos.STYLE).write_bytes(colors.read_bytes())
    assert videos.style_of(order | {"file": "deleted.onnx"}).name == "red"


# ------------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    "data",
    [
        b"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:10,\nfile:///etc/passwd\n",
        b"ffconcat version 1.0\nfile '/etc/passwd'\n",
        b"words " * 50,
        b"\0" * 5000,
        b"\x00\x00\x00\x20ftypisom\0\0\2\0isomiso2avc1mp41",
        b"<?xml version='1.0'?><MPD><BaseURL>http://127.0.0.1/</BaseURL></MPD>",
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
        b"RIFF\x10\0\0\0WEBPVP8X",
    ],
)
def test_what_is_no_video(client: httpx.Client, folder: Path, data: bytes) -> None:
    message = refused(post(client, data), 422, "unreadable", "video")
    assert str(folder) not in message
    assert client.get("/v1/jobs").json() == []


@pytest.mark.parametrize("share", [0.05, 0.5, 0.97])
def test_a_video_that_is_cut_off_is_refused_or_painted_as_far_as_it_goes(
    client: httpx.Client, clip: bytes, share: float, tmp_path: Path
) -> None:
    refused(post(client, clip[: int(min(share, 0.6) * len(clip))]), 422, "unreadable")  # its index is at its end
    path = write_clip(tmp_path / "a.mkv", blocks(96, 128, 30))
    answer = post(client, path.read_bytes()[: int(share * path.stat().st_size)])
    if answer.status_code == 422:
        refused(answer, 422, "unreadable")
        assert share < 0.5
    else:
        assert 0 < len(frames(saved(client, answer.json()["id"], tmp_path))) <= 30


def test_videos_beyond_the_limits(client: httpx.Client, folder: Path, tmp_path: Path) -> None:
    refused(post(client, bytes(1_200_000)), 413, "too_large", "1 MB")
    headers = {"Content-Type": "video/mp4"}
    refused(client.post("/v1/jobs?kind=video&style=candy", content=bytes(1_200_000), headers=headers), 413)
    large = write_clip(tmp_path / "large.mp4", blocks(300, 400, 2)).read_bytes()
    refused(post(client, large), 413, "too_large", "400 x 300", "0.1 million")
    long = write_clip(tmp_path / "long.mp4", blocks(16, 16, 10), rate=1).read_bytes()
    refused(post(client, long), 413, "too_large", "10 seconds", "0.1 minutes")
    fast = write_clip(tmp_path / "fast.mp4", blocks(16, 16, 1000, step=0), rate=500).read_bytes()
    refused(post(client, fast), 413, "too_large", "1000 frames")
    refused(post(client, b""), 422, "wrong_value", "empty")
    refused(client.post("/v1/jobs?kind=video&style=candy", headers=headers), 422, "wrong_value")
    assert not [path for path in folder.iterdir() if path.name.startswith("job_")]


def test_frames_that_a_header_overstates(client: httpx.Client, clip: bytes) -> None:
    """60,000 x 60,000 in the track's header and in the decoder's: told by what is decoded, in a process of its own."""
    data = bytearray(clip)
    place = data.index(b"avc1", data.index(b"stsd")) + 4 + 24
    data[place : place + 4] = struct.pack(">HH", 60_000, 60_000)
    answer = post(client, bytes(data))
    assert answer.status_code in (202, 413, 422), answer.text


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"style": None}, "style"),
        ({"style": "/etc/passwd"}, "no style"),
        ({"steady": "2"}, "steady"),
        ({"quality": "0"}, "quality"),
        ({"size": "nine"}, "size"),
        ({"format": "webm"}, "format"),
        ({"engine": "gatys"}, "engine"),
        ({"iterations": "3"}, "iterations"),
    ],
)
def test_wrong_fields(client: httpx.Client, clip: bytes, fields: dict[str, Any], word: str) -> None:
    refused(post(client, clip, **fields), 422, "", word)


def test_wrong_files(client: httpx.Client, clip: bytes) -> None:
    refused(client.post("/v1/jobs", data={"kind": "video", "style": "candy"}, files={"x": b"y"}), 422, "", "'x'")
    refused(post(client, clip, {"photo": b"y"}), 422, "", "photo")
    refused(post(client, clip, {"mask": b"no picture"}), 422, "unreadable", "mask")
    two = [("video", ("a", clip)), ("video", ("b", clip))]
    refused(client.post("/v1/jobs", data={"kind": "video", "style": "candy"}, files=two), 422, "", "2 times")
    still = {"photo": ("a", encoded(np.zeros((9, 9, 3), np.uint8))), "video": ("b", clip)}
    refused(client.post("/v1/jobs", data={"kind": "optimisation"}, files=still), 422, "unknown_field", "video")
    refused(client.post("/v1/stylize", data={"style": "candy"}, files=still), 422, "", "photo")
    refused(client.post("/v1/stylize?style=candy", content=clip, headers={"Content-Type": "video/mp4"}), 415)


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ({"height": 2161, "width": 4096, "seconds": 1.0, "frames": 25}, ""),
        ({"height": 2160, "width": 4096, "seconds": 301.0, "frames": None}, ""),
        ({"height": 3840, "width": 2160, "seconds": None, "frames": None}, ""),
        ({"height": 4320, "width": 7680, "seconds": 1.0, "frames": 25}, "7680 x 4320"),
        ({"height": 2, "width": 20_000, "seconds": 1.0, "frames": 25}, "20000 x 2"),
        ({"height": 2160, "width": 3840, "seconds": 301.5, "frames": 25}, "5 minutes"),
        ({"height": 2160, "width": 3840, "seconds": None, "frames": 40_000}, "40000 frames"),
    ],
)
def test_the_limits_unless_told_otherwise(said: dict[str, Any], word: str) -> None:
    if not word:
        videos.check_video(said, ServeConfig())
        return
    with pytest.raises(Refusal, match=word) as caught:
        videos.check_video(said, ServeConfig())
    assert caught.value.status == 413


# --------------------------------------------------------------------------------------------------------- the disk


def test_uploads_on_their_way_are_counted(tmp_path: Path) -> None:
    store = Store(tmp_path, 1000)
    (store.new() / "a").write_bytes(bytes(300))
    assert store.free() == 700
    with store.promise(500):
        assert store.free() == 200
        with pytest.raises(Refusal, match="no room"):
            store.check_room(201)
    store.check_room(700)


def test_a_client_has_only_so_many_on_their_way_and_the_disk_is_bounded(clip: bytes) -> None:
    head = (
        "POST /v1/jobs?kind=video&style=candy HTTP/1.1\r\nHost: localhost\r\nContent-Type: video/mp4\r\n"
        f"Content-Length: {len(clip)}\r\n\r\n"
    ).encode()
    with serving("--client-jobs", "1", "--disk-gb", "0.001", "--patience", "3") as server, server.client() as client:
        slow = threading.Thread(target=server.send, args=(head + clip[:1000],))
        slow.start()
        time.sleep(0.7)
        refused(post(client, clip), 429, "busy")
        slow.join()
        refused(post(client, bytes(700_000)), 429, "full")
        assert post(client, clip, size="16").status_code == 202


def test_what_outgrows_its_room_fails_in_words(clip: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(videos, "limit", lambda *_, **__: None)
    monkeypatch.setattr(videos, "watch", lambda: None)
    monkeypatch.setattr(videos, "COUNT_S", 0.0)
    (tmp_path / "video").write_bytes(clip)
    order = videos.order_video({"style": "candy", "size": "64"}, {}, ServeConfig(), {})
    with pytest.raises(VideoError, match="more room than there is"):
        list(videos.run_video(tmp_path, order, 2000))
    with pytest.raises(VideoError, match="more than 3 frames"):
        list(videos.run_video(tmp_path, order | {"frames": 3}, 1 << 30))
    assert len(list(videos.run_video(tmp_path, order | {"seconds": 0.4}, 1 << 30))) == 10


# ------------------------------------------------------------------------------------------------- stopped, cancelled


@pytest.fixture(scope="module")
def longer(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Seconds of a clip that take seconds to paint."""
    path = tmp_path_factory.mktemp("clips") / "a.mp4"
    return write_clip(path, blocks(48, 64, 400, step=1), rate=100).read_bytes()


def test_a_video_is_cancelled(client: httpx.Client, folder: Path, longer: bytes) -> None:
    job = post(client, longer).json()["id"]
    follow(client, job, "running")
    start = time.monotonic()
    assert client.delete(f"/v1/jobs/{job}").status_code == 204
    assert time.monotonic() - start < 5
    refused(client.get(f"/v1/jobs/{job}"), 404)
    assert not (folder / job).exists()


def test_a_stopped_server_ends_well_and_the_next_one_goes_on(longer: bytes, tmp_path: Path) -> None:
    cookies = httpx.Cookies()
    with serving("--data", str(tmp_path)) as server, server.client() as client:
        job = post(client, longer).json()["id"]
        cookies.update(client.cookies)
        parts = tmp_path / job / ".painting.mp4.parts"
        deadline = time.monotonic() + 60
        while not (parts / "000000.json").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert server.stop() == 0
    assert json.loads((tmp_path / job / "job.json").read_text())["state"] == "waiting"
    assert (tmp_path / job / "video").exists()
    with serving("--data", str(tmp_path)) as server, server.client(cookies={**cookies}) as client:
        told = follow(client, job)
        assert min(event["step"] for event in told if event["state"] == "running" and event.get("step")) > 100
        assert len(frames(saved(client, job, tmp_path))) == 400


@pytest.mark.skipif(os.name != "posix", reason="there is no such alarm")
def test_a_standstill_is_told() -> None:
    code = "from impasto.web import videos; import time; videos.STALL_S = 0.2; videos.watch(); time.sleep(30)"
    done = subprocess.run([sys.executable, "-c", code], timeout=60, check=False)
    assert "standstill" in ENDS[-done.returncode]
