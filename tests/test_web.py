"""The HTTP API over a real socket, as clients and attackers meet it."""

import asyncio
import contextlib
import io
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, given, settings
from PIL import Image
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks as openapi
from uvicorn.server import ServerState
from websockets.asyncio.client import connect as websocket
from websockets.exceptions import InvalidStatus

import impasto
from impasto.recipes import read_recipe
from impasto.styles import builtin_styles
from impasto.web.guard import Guard
from impasto.web.metrics import Metrics
from impasto.web.settings import ServeConfig
from serving import Server, encoded, follow, refused, serving

Pixels = npt.NDArray[np.uint8]
Noise = Callable[..., Pixels]
LIMITS = ("--upload-mb", "1", "--megapixels", "1", "--max-side", "2000", "--patience", "1", "--decode-seconds", "3")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(*LIMITS) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with server.client() as made:
        yield made


@pytest.fixture(scope="module")
def photo(noise: Noise) -> bytes:
    return encoded(noise(60, 90))


def post(client: httpx.Client, data: bytes, mask: bytes | None = None, **fields: Any) -> httpx.Response:
    files = {"photo": ("x", data)} | ({} if mask is None else {"mask": ("y", mask)})
    return client.post("/v1/stylize", files=files, data={"style": "candy", **fields})


def paintings_of(server: Server) -> float:
    """How many pictures a server has painted."""
    with server.client() as client:
        found = re.search(r"impasto_painting_seconds_count (\S+)", client.get("/metrics").text)
    return float(found[1]) if found else 0.0


# ------------------------------------------------------------------------------------------------------------- painting


@pytest.mark.parametrize(("kind", "type_"), [("jpeg", "image/jpeg"), ("png", "image/png"), ("webp", "image/webp")])
def test_a_photo_becomes_a_painting(client: httpx.Client, photo: bytes, kind: str, type_: str) -> None:
    answer = post(client, photo, format=kind)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == type_
    assert answer.headers["x-impasto-size"] == "90x60"
    with Image.open(io.BytesIO(answer.content)) as image:
        assert ((image.format or "").lower(), image.size) == (kind, (90, 60))


def test_it_is_what_the_library_paints(client: httpx.Client, noise: Noise) -> None:
    pixels = noise(48, 64)
    answer = post(client, encoded(pixels), style="candy:0.7,udnie:0.3", strength="0.6", stroke="1.5", format="png")
    painted = np.asarray(Image.open(io.BytesIO(answer.content)))
    expected = impasto.stylize(pixels, "candy:0.7,udnie:0.3", strength=0.6, stroke=1.5)
    np.testing.assert_array_equal(painted, expected)


def test_a_body_that_is_the_picture(client: httpx.Client, photo: bytes) -> None:
    address = "/v1/stylize?style=candy&format=png&strength=0.5"
    raw = client.post(address, content=photo, headers={"Content-Type": "image/png"})
    assert raw.content == post(client, photo, format="png", strength="0.5").content


def test_strength_0_is_the_photo_and_a_mask_keeps_what_is_black(client: httpx.Client, noise: Noise) -> None:
    pixels = noise(40, 40)
    mask = np.zeros((40, 40), np.uint8)
    mask[:, 20:] = 255
    kept = np.asarray(Image.open(io.BytesIO(post(client, encoded(pixels), strength="0", format="png").content)))
    np.testing.assert_array_equal(kept, pixels)
    masked = post(client, encoded(pixels), encoded(mask), format="png")
    painted = np.asarray(Image.open(io.BytesIO(masked.content)))
    np.testing.assert_array_equal(painted[:, :20], pixels[:, :20])
    assert (painted[:, 20:] != pixels[:, 20:]).mean() > 0.5


def test_alpha_and_size(client: httpx.Client, noise: Noise) -> None:
    pixels = np.dstack([noise(64, 128), np.full((64, 128), 100, np.uint8)])
    with Image.open(io.BytesIO(post(client, encoded(pixels), size="64", format="png").content)) as image:
        assert (image.mode, image.size) == ("RGBA", (64, 32))


def test_the_recipe_is_inside_and_makes_it_again(client: httpx.Client, photo: bytes, tmp_path: Path) -> None:
    answer = post(client, photo, style="candy:1,udnie:1", strength="0.7", format="png")
    (tmp_path / "painting.png").write_bytes(answer.content)
    (tmp_path / "photo").write_bytes(photo)
    assert read_recipe(tmp_path / "painting.png")["settings"]["weights"] == {"candy": 1.0, "udnie": 1.0}
    command = [sys.executable, "-m", "impasto", "redo", "painting.png", "-o", "again.png"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=60)
    first, again = (np.asarray(Image.open(tmp_path / name)) for name in ("painting.png", "again.png"))
    np.testing.assert_array_equal(first, again)


def test_what_the_photo_says_of_place_and_camera_is_not_passed_on(client: httpx.Client, noise: Noise) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Secret camera"
    exif[0x8825] = {1: "N", 2: (50.0, 0.0, 0.0)}
    answer = post(client, encoded(noise(30, 30), "JPEG", exif=exif))
    assert b"Secret" not in answer.content
    assert not Image.open(io.BytesIO(answer.content)).getexif().get_ifd(0x8825)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"style": ""}, "style"),
        ({"style": "nothing"}, "candy"),
        ({"style": "/etc/passwd"}, "no style"),
        ({"style": "../zoo/palette.onnx"}, "no style"),
        ({"style": "palette:candy"}, "no style"),
        ({"style": "candy:0"}, "weights of 0"),
        ({"style": "candy:nan"}, "style"),
        ({"style": "candy:-1,udnie:2"}, "style"),
        ({"style": "job_" + "0" * 32}, "no such style"),
        ({"strength": "2"}, "strength"),
        ({"strength": "nan"}, "strength"),
        ({"strength": "inf"}, "strength"),
        ({"stroke": "0"}, "stroke"),
        ({"colors": "red"}, "colors"),
        ({"size": "-1"}, "size"),
        ({"size": "\uff11\uff12"}, "size"),
        ({"size": "1e3"}, "size"),
        ({"format": "tiff"}, "format"),
        ({"quality": "101"}, "quality"),
        ({"device": "gpu"}, "device"),
        ({"style": "candy," * 900}, "too long"),
    ],
)
def test_wrong_fields_are_told_in_words(client: httpx.Client, photo: bytes, fields: dict[str, str], word: str) -> None:
    refused(post(client, photo, None, **fields), 422, "", word)


def test_styles_and_thumbnails(client: httpx.Client) -> None:
    styles = client.get("/v1/styles").json()
    assert [style["name"] for style in styles] == list(builtin_styles())
    assert styles[2]["artist"] == "Francis Picabia"
    answer = client.get("/v1/styles/udnie/thumbnail")
    assert answer.headers["content-type"] == "image/jpeg"
    assert max(Image.open(io.BytesIO(answer.content)).size) == 256
    refused(client.get("/v1/styles/..%2f..%2fetc/thumbnail"), 404)
    refused(client.get("/v1/styles/nothing/thumbnail"), 404, "unknown_style")


def test_a_thumbnail_is_painted_once_however_many_want_it(server: Server) -> None:
    before = paintings_of(server)
    with ThreadPoolExecutor(8) as threads, server.client() as client:
        answers = [*threads.map(client.get, ["/v1/styles/shipwreck/thumbnail"] * 8)]
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert paintings_of(server) - before <= 1


def test_health_metrics_and_info(client: httpx.Client) -> None:
    assert client.get("/health").json() == {"status": "ok"}
    assert client.get("/ready").status_code == 200
    assert client.get("/v1/info").json()["limits"]["upload_mb"] == 1
    text = client.get("/metrics").text
    assert re.search(r'impasto_requests_total\{method="GET",route="/health",status="200"\} [1-9]', text)
    assert "impasto_painter_memory_bytes" in text


# ------------------------------------------------------------------------------------------------------ hostile uploads


def chunk(tag: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data))


def png(width: int, height: int, data: bytes = b"", *more: bytes) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(more) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def bomb(side: int) -> bytes:
    """A picture of a colour: some kilobytes that become megabytes."""
    return png(side, side, zlib.compress(bytes((3 * side + 1) * side), 9))


def test_bombs_are_refused_by_their_headers(client: httpx.Client) -> None:
    refused(post(client, bomb(1500)), 413, "too_large", "1500 x 1500")
    refused(post(client, png(60_000, 60_000)), 413, "too_large")
    refused(post(client, png(2001, 2)), 413, "too_large", "2000")
    assert post(client, bomb(900), size="64").status_code == 200


def test_text_chunks_that_unpack_to_much(client: httpx.Client) -> None:
    text = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(200_000_000), 9)) * 3
    assert post(client, png(8, 8, zlib.compress(bytes(25 * 8)), text)).status_code in (200, 422)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "AVIF"])
def test_pictures_that_are_cut_off(client: httpx.Client, noise: Noise, kind: str) -> None:
    whole = encoded(noise(50, 50), kind)
    for size in (1, 12, 30, len(whole) // 2):
        answer = post(client, whole[:size])
        refused(answer, 422, "unreadable", "photo")


@pytest.mark.parametrize(
    "data",
    [
        b"\0" * 1000,
        b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        b"#EXTM3U\nfile:///etc/passwd\n",
        b"%!PS\n(/etc/passwd) run",
        b"\x08\x08\x12\x07pytorch",
        b"PK\x03\x04" + bytes(100),
        b"\x80\x04cposix\nsystem\n(S'touch /tmp/x'\ntR.",
        b"ftyp",
        b"P6 9999999 9999999 255\n",
    ],
)
def test_what_is_no_picture(client: httpx.Client, data: bytes) -> None:
    refused(post(client, data), 422, "unreadable")
    refused(post(client, encoded(np.zeros((9, 9, 3), np.uint8)), data), 422, "unreadable", "mask")


def test_a_polyglot_comes_out_as_a_picture_alone(client: httpx.Client, noise: Noise) -> None:
    script = b"<script>alert(1)</script>"
    sent = encoded(noise(20, 20), "JPEG", comment=script) + b"PK\x03\x04" + script
    answer = post(client, sent, strength="0")
    assert answer.status_code == 200
    assert script not in answer.content
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_names_of_files_lead_nowhere_and_are_not_shown(server: Server, photo: bytes, tmp_path: Path) -> None:
    for name in ("../../etc/passwd", "/etc/passwd", "a\\..\\b", "x.php", "\u202egnp.exe", "a" * 3000, ""):
        with server.client() as client:
            answer = client.post("/v1/stylize", files={"photo": (name or "-", photo)}, data={"style": "candy"})
        assert answer.status_code == 200
        assert answer.headers["content-disposition"] == 'inline; filename="painting.jpg"'
    assert not [*tmp_path.iterdir()]


def test_a_decoder_that_takes_too_long_or_dies_costs_only_its_request(server: Server, photo: bytes) -> None:
    """A file of many frames in an odd order may; here the process is stopped from outside."""
    tasks = [*Path(f"/proc/{server.process.pid}/task").glob("*/children")]
    if not tasks:
        pytest.skip("needs Linux' /proc")
    pids = [int(pid) for task in tasks for pid in task.read_text().split()]
    decoders = [pid for pid in pids if b"decode" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    painters = [pid for pid in pids if b"paint" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")]
    assert (len(decoders), len(painters)) == (2, 1)
    with server.client() as client:
        for pid in decoders:
            os.kill(pid, signal.SIGSTOP)
        start = time.monotonic()
        refused(post(client, photo), 422, "crashed")
        assert time.monotonic() - start < 8
        for pid in painters:
            os.kill(pid, signal.SIGKILL)
        statuses = [post(client, photo).status_code for _ in range(4)]
        assert statuses.count(200) >= 2
        assert set(statuses) <= {200, 422, 500}
        assert post(client, photo).status_code == 200
        assert 'impasto_crashes_total{process="decode"}' in client.get("/metrics").text


def test_no_process_of_an_upload_is_left(server: Server, client: httpx.Client, photo: bytes) -> None:
    post(client, photo)
    done = subprocess.run(["ps", "-eo", "ppid,stat"], capture_output=True, text=True, check=True)
    assert not [line for line in done.stdout.splitlines() if line.split() == [str(server.process.pid), "Z"]]


# ----------------------------------------------------------------------------------------------------- hostile requests


HEAD = (
    b"POST /v1/stylize?style=candy HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n"
)


def test_what_is_too_large_is_refused_while_it_comes(server: Server, client: httpx.Client) -> None:
    refused(post(client, bytes(1_500_000)), 413, "too_large")
    refused(client.post("/v1/stylize", content=bytes(4_000_000), headers={"Content-Type": "image/png"}), 413)
    assert b" 413 " in server.send(HEAD % 999_999_999_999 + b"x")[:20]

    def endless() -> Iterator[bytes]:
        for _ in range(100):
            yield bytes(100_000)

    refused(client.post("/v1/stylize?style=candy", content=endless(), headers={"Content-Type": "image/png"}), 413)


def test_many_uploads_at_the_same_time_are_bounded(photo: bytes) -> None:
    """Bodies that have come but are not yet whole count too; what they held is given back."""
    options = ("--upload-mb", "0.1", "--job-mb", "0.1", "--video-mb", "0.1", "--patience", "2")
    with serving(*options) as server, server.client() as client, contextlib.ExitStack() as opened:
        head = HEAD % 90_000 + bytes(89_000)
        for _ in range(46):
            plain = opened.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            plain.sendall(head)
        time.sleep(0.5)
        refused(post(client, photo), 429, "busy")
        time.sleep(3)
        assert post(client, photo).status_code == 200


def test_slow_bodies_are_ended(server: Server) -> None:
    start = time.monotonic()
    assert b" 408 " in server.send(HEAD % 1000 + b"\x89PNG")[:20]
    assert time.monotonic() - start < 9


async def echo(_scope: Any, receive: Any, send: Any) -> None:
    """An application of WebSockets that sends back what it is told."""
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


def test_slow_headers_are_ended_and_websockets_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    from impasto.web import server as module

    monkeypatch.setattr(module, "HEAD_S", 0.3)
    config = uvicorn.Config(echo, ws="websockets-sansio", lifespan="off", log_config=None)
    config.load()

    async def talk() -> None:
        made = partial(module.Protocol, config=config, server_state=ServerState(), app_state={})
        listening = await asyncio.get_running_loop().create_server(made, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        async with websocket(f"ws://127.0.0.1:{port}/") as live:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nHost:")
            assert await asyncio.wait_for(reader.read(), 20) == b""
            writer.close()
            await live.send("there")
            assert await asyncio.wait_for(live.recv(), 20) == "there"
        listening.close()

    asyncio.run(talk())


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(50) + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 20_000 + b"\r\n",
        b"POST /v1/stylize HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/stylize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: localhost\r\n\r\n",
    ],
)
def test_what_is_no_request(server: Server, data: bytes) -> None:
    answer = server.send(data)
    assert answer == b"" or re.match(rb"HTTP/1.1 4\d\d ", answer), answer[:100]


@pytest.mark.parametrize(
    ("type_", "body"),
    [
        ("multipart/form-data", b"abc"),
        ("multipart/form-data; boundary=", b"abc"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\nabc\r\n--x--"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data; name=photo; filename=a\r\n\r\nab"),
        ("multipart/form-data; boundary=x", b"--x--"),
        ("application/json", b"{}"),
        ("application/x-www-form-urlencoded", b"style=candy"),
        ("", b"abc"),
        ("image/png", b""),
    ],
)
def test_what_is_no_form(client: httpx.Client, type_: str, body: bytes) -> None:
    answer = client.post("/v1/stylize", content=body, headers={"Content-Type": type_})
    assert 400 <= answer.status_code < 500
    assert answer.json()["error"]["message"]


def test_many_fields_and_files(client: httpx.Client, photo: bytes) -> None:
    assert client.post("/v1/stylize", files={"photo": photo}, data={f"f{i}": "a" for i in range(99)}).status_code == 400
    assert client.post("/v1/stylize", files=[("photo", photo)] * 9, data={"style": "candy"}).status_code == 400
    refused(client.post("/v1/stylize", files=[("photo", photo)] * 2, data={"style": "candy"}), 422, "", "2 times")
    refused(client.post("/v1/stylize", files={"photos": photo}, data={"style": "candy"}), 422, "", "photo")


def test_a_text_for_a_file_and_a_file_for_a_text(client: httpx.Client, photo: bytes) -> None:
    with_photo = {"photo": ("x", photo)}
    for name in ("mask", "painting"):
        answer = client.post("/v1/stylize", files=with_photo, data={"style": "candy", name: "abc"})
        refused(answer, 422, "wrong_value", f"{name} came as a text; send it as a file, as curl -F {name}=@FILE does")
    refused(client.post("/v1/stylize?photo=x.jpg", files={"mask": photo}), 422, "wrong_value", "photo came as a text")
    answer = client.post("/v1/stylize", files={**with_photo, "style": ("y", b"candy")})
    refused(answer, 422, "wrong_value", "style came as a file; send it as a text, as curl -F style=VALUE does")
    answer = client.post("/v1/jobs", files=with_photo, data={"kind": "optimisation", "painting": "monet.jpg"})
    refused(answer, 422, "wrong_value", "painting came as a text; send it as a file")
    answer = client.post("/v1/jobs", files={"name": ("x", b"a")}, data={"kind": "training"})
    refused(answer, 422, "wrong_value", "name came as a file; send it as a text")


def test_a_broken_form_is_told_and_leaves_no_line_in_the_log() -> None:
    with serving() as server:
        with server.client() as client:
            for boundary, told in (("; boundary=x", "Invalid multipart data"), ("", "Missing boundary")):
                answer = client.post(
                    "/v1/stylize", content=b"no form", headers={"Content-Type": f"multipart/form-data{boundary}"}
                )
                refused(answer, 400, "bad_request", f"the form cannot be read ({told}", "send it as curl -F does")
        assert server.stop() == 0
        assert server.said == "Ctrl-C ends it\n"


@pytest.mark.parametrize("path", ["/nothing", "/v1/nothing", "/static/none.js", "/docs"])
def test_an_address_that_is_none(client: httpx.Client, path: str) -> None:
    refused(client.get(path), 404, "not_found", "there is nothing at this address; /openapi.json tells what there is")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/stylize", "POST"),
        ("PUT", "/", "GET"),
        ("PATCH", "/v1/jobs", "GET, POST"),
        ("PUT", "/v1/jobs/abc", "DELETE, GET"),
        ("POST", "/static/page.js", "GET, HEAD"),
    ],
)
def test_a_method_that_an_address_does_not_take(client: httpx.Client, method: str, path: str, allowed: str) -> None:
    answer = client.request(method, path)
    refused(answer, 405, "wrong_method", f"this address takes {allowed}, not {method}")
    assert answer.headers["allow"] == allowed


# ---------------------------------------------------------------------------------------------- who may, and from where


@pytest.mark.parametrize(
    "origin", ["null", "http://evil.example", "http://localhost:1", "https://127.0.0.1.evil.example"]
)
def test_pages_of_other_sites_change_nothing(server: Server, client: httpx.Client, photo: bytes, origin: str) -> None:
    headers = {"Origin": origin}
    answer = client.post("/v1/stylize", files={"photo": photo}, data={"style": "candy"}, headers=headers)
    refused(answer, 403, "wrong_origin")
    refused(client.delete("/v1/jobs/job_" + "0" * 32, headers=headers), 403, "wrong_origin")
    with pytest.raises(InvalidStatus) as caught, server.live(origin):
        pass
    assert caught.value.response.status_code == 403


def test_the_page_itself_may(server: Server, client: httpx.Client, photo: bytes) -> None:
    fields = {"files": {"photo": photo}, "data": {"style": "candy"}}
    own = client.post("/v1/stylize", **fields, headers={"Origin": server.url, "Sec-Fetch-Site": "same-origin"})  # type: ignore[arg-type]
    assert own.status_code == 200
    refused(client.post("/v1/stylize", **fields, headers={"Sec-Fetch-Site": "cross-site"}), 403)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "", "localhost.evil.example:80", "[::1", "a@b"]
)
def test_names_that_are_led_here_are_refused(client: httpx.Client, host: str) -> None:
    """DNS rebinding: a name of an attacker that leads to this machine."""
    refused(client.get("/v1/styles", headers={"Host": host}), 421, "wrong_host")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "192.168.1.7:8080", "[::1]:8080"])
def test_plain_addresses_and_localhost_are_welcome(client: httpx.Client, host: str) -> None:
    assert client.get("/health", headers={"Host": host}).status_code == 200


def test_every_answer_has_the_headers(client: httpx.Client, photo: bytes) -> None:
    answers = [
        client.get("/"),
        client.get("/static/main.js"),
        client.get("/nothing"),
        client.get("/openapi.json"),
        client.put("/v1/stylize"),
        post(client, photo),
        post(client, b""),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 404, 200, 405, 200, 422]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "script-src 'self'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert "server" not in answer.headers


def test_a_fault_of_ours_is_answered_like_every_other() -> None:
    async def broken(*_: Any) -> None:
        raise RuntimeError("a secret path")

    async def ask() -> httpx.Response:
        way = httpx.ASGITransport(Guard(broken, ServeConfig(), Metrics()), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=way, base_url="http://localhost") as client:
            return await client.get("/v1/styles")

    answer = asyncio.run(ask())
    assert "secret" not in refused(answer, 500, "failed")
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_nothing_beside_the_page_is_served(server: Server) -> None:
    for path in ("/static/../app.py", "/static/..%2fapp.py", "/static//etc/passwd", "/static/%2e%2e/app.py"):
        answer = server.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        assert b" 404 " in answer[:20], path


def test_a_token_is_wanted_where_one_is_set(photo: bytes) -> None:
    with serving("--host", "0.0.0.0", IMPASTO_TOKEN="a secret word") as server:
        assert server.shown.endswith("?token=a secret word")
        with server.client() as client:
            assert client.get("/health").status_code == 200
            for path in ("/", "/v1/styles", "/static/main.js", "/metrics", "/openapi.json"):
                refused(client.get(path), 401, "no_token")
            refused(post(client, photo), 401)
            refused(client.get("/v1/styles", headers={"Authorization": "Bearer wrong"}), 401)
            refused(client.get("/v1/styles?token=a secret word"), 401)
            assert client.get("/v1/styles", headers={"Authorization": "Bearer a secret word"}).status_code == 200
            with pytest.raises(InvalidStatus), server.live():
                pass
            entered = client.get("/", params={"token": "a secret word"})
            assert (entered.status_code, entered.headers["location"]) == (303, "/")
            assert "HttpOnly" in entered.headers["set-cookie"]
            assert "secret" not in entered.headers["set-cookie"]
            assert post(client, photo).status_code == 200


# --------------------------------------------------------------------------------------------------------- many at once


def test_more_than_the_queue_holds_are_told_to_come_back(noise: Noise) -> None:
    data = encoded(noise(500, 700), "JPEG")
    with serving("--queue", "2") as server, ThreadPoolExecutor(16) as threads:

        def one(_: int) -> httpx.Response:
            with server.client() as client:
                return post(client, data)

        answers = [*threads.map(one, range(16))]
        statuses = [answer.status_code for answer in answers]
        assert set(statuses) == {200, 429}
        for answer in answers:
            if answer.status_code == 429:
                assert int(answer.headers["retry-after"]) >= 1
                refused(answer, 429, "busy")
        assert one(0).status_code == 200


def test_what_nobody_waits_for_is_not_painted(server: Server, noise: Noise) -> None:
    data = encoded(noise(700, 1000), "JPEG", quality=60)

    before = paintings_of(server)

    def impatient(_: int) -> None:
        with contextlib.suppress(httpx.TimeoutException), server.client() as client:
            client.timeout = httpx.Timeout(5, read=0.15)
            post(client, data)

    with ThreadPoolExecutor(12) as threads:
        [*threads.map(impatient, range(24))]
    time.sleep(2)
    assert paintings_of(server) - before < 22


def test_health_answers_while_pictures_are_painted(server: Server, noise: Noise) -> None:
    data = encoded(noise(800, 1200), "JPEG", quality=60)
    stop = threading.Event()

    def load() -> None:
        with server.client() as client:
            while not stop.is_set():
                post(client, data)

    with ThreadPoolExecutor(4) as threads, server.client() as client:
        for _ in range(4):
            threads.submit(load)
        times = []
        for _ in range(15):
            start = time.perf_counter()
            assert client.get("/health").status_code == 200
            times.append(time.perf_counter() - start)
            time.sleep(0.05)
        stop.set()
    assert sorted(times)[len(times) // 2] < 0.1


# ----------------------------------------------------------------------------------------------------------------- live


def test_a_webcam_is_painted(server: Server, noise: Noise) -> None:
    frame = encoded(noise(120, 160), "JPEG")
    with server.live(server.url) as live:
        live.send(frame)
        assert json.loads(live.recv())["error"]["code"] == "wrong_value"
        live.send(json.dumps({"style": "candy", "strength": 0.8, "size": 96}))
        assert json.loads(live.recv()) == {"style": {"candy": 1.0}}
        live.send(frame)
        assert Image.open(io.BytesIO(live.recv())).size == (96, 72)  # type: ignore[arg-type]
        for wrong in ("{", "[]", json.dumps({"style": "/etc/passwd"}), "[" * 100_000, json.dumps({"size": {}})):
            live.send(wrong)
            assert "error" in json.loads(live.recv())
        live.send(b"no picture")
        assert json.loads(live.recv())["error"]["code"] == "unreadable"
        live.send(frame)
        assert isinstance(live.recv(), bytes)


def test_only_so_many_webcams() -> None:
    with serving("--live", "1") as server, server.live() as first, server.live() as second:
        assert json.loads(second.recv())["error"]["code"] == "busy"
        first.send(json.dumps({"style": "udnie"}))
        assert json.loads(first.recv())["style"] == {"udnie": 1.0}


# ----------------------------------------------------------------------------------------------------------------- jobs


def submit(client: httpx.Client, data: bytes, painting: bytes | None = None, /, **fields: Any) -> httpx.Response:
    files = [("photo", ("a", data)), ("painting", ("b", painting or data))]
    return client.post("/v1/jobs", files=files, data=fields)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("data")
    with serving("--data", str(data), "--client-jobs", "2", "--keep-minutes", "10") as running:
        yield running


@pytest.fixture
def painting(noise: Noise) -> bytes:
    return encoded(np.asarray(Image.fromarray(noise(8, 8, 5)).resize((160, 160))), "JPEG")


def test_an_optimisation(workshop: Server, photo: bytes, painting: bytes) -> None:
    with workshop.client() as client, workshop.client() as stranger:
        answer = submit(client, photo, painting, kind="optimisation", size="96", iterations="6", style_scale="1")
        assert answer.status_code == 202, answer.text
        job = answer.json()["id"]
        assert answer.headers["location"] == f"/v1/jobs/{job}"
        refused(client.get(f"/v1/jobs/{job}/result"), 409, "not_done")
        for path in ("", "/events", "/picture", "/result"):
            refused(stranger.get(f"/v1/jobs/{job}{path}"), 404, "unknown_job")
        refused(stranger.delete(f"/v1/jobs/{job}"), 404)
        assert stranger.get("/v1/jobs").json() == []
        told = follow(client, job)
        assert told[-1]["state"] == "done", told[-1]
        assert {event["state"] for event in told} <= {"waiting", "running", "done"}
        shown = client.get(f"/v1/jobs/{job}").json()
        assert shown["progress"] == 1
        assert len(shown["curve"]) >= 6
        assert shown["expires"] > time.time()
        result = client.get(f"/v1/jobs/{job}/result")
        assert result.headers["content-type"] == "image/png"
        assert max(Image.open(io.BytesIO(result.content)).size) == 96
        assert client.get(f"/v1/jobs/{job}/picture").content == result.content
        assert client.delete(f"/v1/jobs/{job}").status_code == 204
        refused(client.get(f"/v1/jobs/{job}"), 404)


def test_a_training_makes_a_style_of_its_owner(workshop: Server, photo: bytes, noise: Noise, painting: bytes) -> None:
    larger = encoded(np.asarray(Image.fromarray(noise(12, 12)).resize((300, 240))), "JPEG")
    with workshop.client() as client, workshop.client() as stranger:
        answer = submit(client, larger, painting, kind="training", name="my style", minutes="0.03")
        assert answer.status_code == 202, answer.text
        job = answer.json()["id"]
        told = follow(client, job)
        assert told[-1]["state"] == "done", told[-1]
        assert client.get(f"/v1/jobs/{job}/picture").headers["content-type"] == "image/jpeg"
        style = client.get("/v1/styles").json()[-1]
        assert (style["name"], style["title"], style["own"]) == (job, "my style", True)
        assert post(client, photo, style=job, stroke="1").status_code == 200
        refused(post(stranger, photo, style=job), 422, "unknown_style")
        assert len(stranger.get("/v1/styles").json()) == 16
        assert client.get(f"/v1/jobs/{job}/result").headers["content-disposition"].endswith('"style.onnx"')
        assert client.delete(f"/v1/jobs/{job}").status_code == 204
        refused(post(client, photo, style=job), 422, "unknown_style")


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({}, "kind"),
        ({"kind": "sculpture"}, "kind"),
        ({"kind": "optimisation", "size": "5000"}, "size"),
        ({"kind": "optimisation", "iterations": "0"}, "iterations"),
        ({"kind": "optimisation", "init": "/etc/passwd"}, "init"),
        ({"kind": "optimisation", "weights": "1,2"}, "weights"),
        ({"kind": "optimisation", "loss_network": "/etc/passwd"}, "loss_network"),
        ({"kind": "training", "name": "../x"}, "name"),
        ({"kind": "training", "name": "candy"}, "name"),
        ({"kind": "training", "minutes": "1e9"}, "minutes"),
        ({"kind": "training", "base": "/etc/passwd"}, "base"),
    ],
)
def test_jobs_that_cannot_be(workshop: Server, photo: bytes, fields: dict[str, str], word: str) -> None:
    with workshop.client() as client:
        refused(submit(client, photo, None, **fields), 422, "", word)
        refused(submit(client, b"no picture", kind="optimisation"), 422, "unreadable", "photo")
        assert client.get("/v1/jobs").json() == []


def test_a_job_is_cancelled_and_a_client_has_only_so_many(workshop: Server, photo: bytes, painting: bytes) -> None:
    with workshop.client() as client:
        first, second = (
            submit(client, photo, painting, kind="optimisation", size="512", iterations="1000").json()["id"]
            for _ in range(2)
        )
        answer = submit(client, photo, painting, kind="optimisation")
        refused(answer, 429, "busy")
        assert "retry-after" in answer.headers
        assert client.get(f"/v1/jobs/{second}").json()["ahead"] == 1
        follow(client, first, "running")
        start = time.monotonic()
        assert client.delete(f"/v1/jobs/{first}").status_code == 204
        assert client.delete(f"/v1/jobs/{second}").status_code == 204
        assert time.monotonic() - start < 5
        assert client.get("/v1/jobs").json() == []


def test_a_stopped_server_ends_well_and_the_next_one_goes_on(photo: bytes, painting: bytes, tmp_path: Path) -> None:
    cookies = httpx.Cookies()
    with serving("--data", str(tmp_path)) as server, server.client() as client:
        job = submit(client, photo, painting, kind="optimisation", size="128", iterations="30").json()["id"]
        cookies.update(client.cookies)
        reached = follow(client, job, "running")[-1]["step"]
        watched = threading.Thread(target=follow, args=(client, job))
        watched.start()
        start = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - start < 25
        watched.join()
    assert (tmp_path / job / "painting.png.state").exists()
    with serving("--data", str(tmp_path)) as server, server.client(cookies={**cookies}) as client:
        told = follow(client, job)
        steps = [event["step"] for event in told if event.get("step") and event["state"] == "running"]
        assert min(steps) >= reached
        assert told[-1]["state"] == "done"


def test_what_runs_is_finished_before_the_server_ends(noise: Noise) -> None:
    data = encoded(noise(1500, 2000), "JPEG")
    answers = []
    with serving() as server:

        def paint() -> None:
            with server.client() as client:
                answers.append(post(client, data).status_code)

        thread = threading.Thread(target=paint)
        thread.start()
        time.sleep(0.3)
        assert server.stop() == 0
        thread.join()
    assert answers == [200]


def test_results_expire_and_the_disk_has_a_bound(photo: bytes, painting: bytes, tmp_path: Path) -> None:
    options = ("--data", str(tmp_path), "--keep-minutes", "0.02", "--disk-gb", "0.001")
    with serving(*options) as server, server.client() as client:
        job = submit(client, photo, painting, kind="optimisation", size="64", iterations="1").json()["id"]
        told = follow(client, job)
        assert told[-1]["state"] == "done"
        deadline = time.monotonic() + 10
        while [*tmp_path.iterdir()]:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        refused(client.get(f"/v1/jobs/{job}/result"), 404)
        large = encoded(np.asarray(Image.fromarray(np.zeros((4, 4, 3), np.uint8)).resize((900, 900))), "BMP")
        refused(submit(client, large, painting, kind="optimisation"), 429, "full")


# ----------------------------------------------------------------------------------------------------- the command line


def test_it_starts_fast() -> None:
    start = time.monotonic()
    with serving():
        assert time.monotonic() - start < 12  # 3 s on a machine that does nothing else: see benchmarks/serve.py


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--port", "99999"], "port"),
        (["--queue", "0"], "queue"),
        (["--token", "short"], "token"),
        (["--photos", "nowhere"], "photos"),
        (["--upload-mb", "nan"], "upload_mb"),
    ],
)
def test_wrong_options_are_told_in_one_line(options: list[str], word: str) -> None:
    command = [sys.executable, "-m", "impasto", "serve", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert word in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_port_that_is_taken(server: Server) -> None:
    command = [sys.executable, "-m", "impasto", "serve", "--port", str(server.port)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert f"port {server.port}" in done.stderr


def test_the_network_is_let_in_only_with_a_warning() -> None:
    with serving("--host", "0.0.0.0") as server:
        assert server.stop(signal.SIGINT) == 0
        assert "--token" in server.said


# ------------------------------------------------------------------------------------------------ the OpenAPI document

CHECKS = [
    not_a_server_error,
    openapi.status_code_conformance,
    openapi.content_type_conformance,
    openapi.response_headers_conformance,
    openapi.response_schema_conformance,
]


def test_answers_are_as_the_document_says(server: Server) -> None:
    document = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    operations = [found.ok() for found in document.get_all_operations()]  # type: ignore[union-attr]
    assert len(operations) > 10
    for operation in operations:
        if operation.path.endswith("/events"):  # of a job, which lasts
            continue

        @settings(max_examples=8, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def check(case: Any) -> None:
            case.call_and_validate(checks=CHECKS, timeout=30)

        check()


def test_the_document_has_examples_and_no_outside_pages(client: httpx.Client) -> None:
    said = client.get("/openapi.json").json()
    assert said["paths"]["/v1/stylize"]["post"]["requestBody"]["content"]["multipart/form-data"]["example"]["style"]
    assert {"/v1/stylize", "/v1/jobs", "/v1/jobs/{job_id}/events", "/v1/styles", "/health", "/metrics"} <= {
        *said["paths"]
    }
    assert client.get("/docs").status_code == 404
