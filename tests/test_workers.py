"""The server's processes, what is said to them, and the queue before them, without a server."""

import asyncio
import contextlib
import io
import os
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from impasto.images import Picture, lightness, read_image
from impasto.web.children import unpack
from impasto.web.frames import LENGTHS, BrokenFrameError, read_frame, write_frame
from impasto.web.refusal import Refusal
from impasto.web.turns import Turns
from impasto.web.workers import Worker, WorkerDiedError, environment, kill

Noise = Callable[..., npt.NDArray[np.uint8]]
ASKED = {"kind": "photo", "max_pixels": 40_000_000, "max_side": 16_384}

# ------------------------------------------------------------------------------------------------------------- frames


@given(
    head=st.dictionaries(st.text(max_size=9), st.integers() | st.text() | st.none(), max_size=4),
    parts=st.lists(st.binary(max_size=99), max_size=3),
)
def test_messages_come_as_they_were_sent(head: dict[str, object], parts: list[bytes]) -> None:
    stream = io.BytesIO()
    write_frame(stream, head, *parts)
    write_frame(stream, {"next": 1})
    stream.seek(0)
    first, second = read_frame(stream, 1000), read_frame(stream, 0)
    assert first
    assert second
    assert (first[0], bytes(first[1])) == (head, b"".join(parts))
    assert second[0] == {"next": 1}
    assert read_frame(stream, 0) is None


@pytest.mark.parametrize(
    "data",
    [
        b"\0",
        LENGTHS.pack(2, 5) + b"{}abc",
        LENGTHS.pack(99, 0) + b"{}",
        LENGTHS.pack(2, 0) + b"[]",
        LENGTHS.pack(2, 0) + b"{,",
        LENGTHS.pack(2, 0) + b"\xff\xff",
        LENGTHS.pack(2, 101) + b"{}" + bytes(101),
        LENGTHS.pack(0xFFFFFFFF, 0),
        LENGTHS.pack(2, 0xFFFFFFFFFFFFFFFF) + b"{}",
    ],
)
def test_messages_that_are_none(data: bytes) -> None:
    with pytest.raises(BrokenFrameError):
        read_frame(io.BytesIO(data), 100)


@pytest.mark.parametrize("alpha", [True, False])
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("styled", [True, False])
def test_a_payload_is_taken_apart(noise: Noise, alpha: bool, masked: bool, styled: bool) -> None:
    pixels, see, mask, style = noise(5, 7), noise(5, 7)[:, :, 0], noise(3, 4)[:, :, 0], noise(2, 3)
    parts = {"alpha": see if alpha else None, "mask": mask if masked else None, "style": style if styled else None}
    data = bytearray(pixels.tobytes() + b"".join(part.tobytes() for part in parts.values() if part is not None))
    if styled:
        data += b"alpha of the painting, which is not used"
    asked = {"size": [5, 7], "alpha": alpha, "mask_size": [3, 4] if masked else None}
    picture, found, painting = unpack(asked | {"painting_size": [2, 3] if styled else None}, data)
    assert (painting is not None) == styled
    if styled:
        np.testing.assert_array_equal(painting, style)
    np.testing.assert_array_equal(picture.pixels, pixels)
    assert (picture.alpha is not None) == alpha
    assert (found is not None) == masked
    if alpha:
        np.testing.assert_array_equal(picture.alpha, see)
    if masked:
        np.testing.assert_array_equal(found, mask)


def test_a_mask_is_black_where_it_is_transparent() -> None:
    picture = Picture(np.full((1, 2, 3), 200, np.uint8), np.array([[0, 255]], np.uint8))
    assert lightness(picture).tolist() == [[0, 200]]


# ---------------------------------------------------------------------------------------------------------- processes


def test_a_style_that_is_gone_is_told_without_its_folder(tmp_path: Path) -> None:
    asked = {
        "file": str(tmp_path / "style.onnx"),
        "painting": None,
        "size": [1, 1],
        "alpha": False,
        "mask_size": None,
        "painting_size": None,
        "weights": {"mine": 1.0},
    }
    worker = Worker("paint")
    try:
        head, _ = worker.call(asked, bytes(3), seconds=60, limit=0)
    finally:
        worker.close()
    assert head["error"].startswith("style.onnx")
    assert str(tmp_path) not in head["error"]


@pytest.fixture(scope="module")
def decoder() -> Iterator[Worker]:
    worker = Worker("decode", "500", "10")
    yield worker
    worker.close()


def png(noise: Noise, height: int = 20, width: int = 30) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(noise(height, width)).save(stream, "PNG")
    return stream.getvalue()


def ask(worker: Worker, data: bytes, limit: int = 1 << 30, seconds: float = 30) -> dict[str, object]:
    return worker.call(ASKED, data, seconds=seconds, limit=limit)[0]


def test_a_decoder_reads_as_the_library_does(decoder: Worker, noise: Noise) -> None:
    data = png(noise)
    head, pixels = decoder.call(ASKED, data, seconds=30, limit=10_000)
    assert head == {"height": 20, "width": 30, "alpha": False}
    assert pixels == read_image(data).tobytes()


def test_a_picture_within_the_limits_that_takes_too_much_memory(decoder: Worker, noise: Noise) -> None:
    """36 megapixels of 16-bit RGBA are half a kilobyte a row and half a gigabyte decoded."""
    head = struct.pack(">IIBBBBB", 6000, 6000, 16, 6, 0, 0, 0)

    def chunk(tag: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data))

    body = zlib.compressobj(9)
    rows = b"".join(body.compress(bytes(1 + 8 * 6000)) for _ in range(6000)) + body.flush()
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    assert len(bomb) < 1 << 20
    with contextlib.suppress(WorkerDiedError):
        assert ask(decoder, bomb).get("code") in ("too_large", "unreadable")
    assert ask(decoder, png(noise))["height"] == 20


def test_a_process_that_dies_or_says_too_much_is_replaced(decoder: Worker, noise: Noise) -> None:
    data = png(noise)
    decoder.start()
    assert decoder.process
    kill(decoder.process)
    decoder.process.wait()
    assert ask(decoder, data)["height"] == 20
    with pytest.raises(WorkerDiedError):
        ask(decoder, data, limit=100)
    start = time.monotonic()
    with pytest.raises(WorkerDiedError):
        ask(decoder, data, seconds=0)
    assert time.monotonic() - start < 10
    assert ask(decoder, data)["height"] == 20


def test_a_closed_worker_stays_closed(noise: Noise) -> None:
    worker = Worker("decode", "700", "10")
    worker.start()
    process = worker.process
    worker.close()
    assert process
    assert process.returncode is not None
    with pytest.raises(WorkerDiedError):
        ask(worker, png(noise))


def test_processes_see_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMPASTO_TOKEN", "a secret word")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    assert not {"IMPASTO_TOKEN", "AWS_SECRET_ACCESS_KEY"} & set(environment())
    assert set(environment()) <= {*os.environ, "PYTHONPATH", "OPENBLAS_NUM_THREADS"}


# -------------------------------------------------------------------------------------------------------------- turns


def in_turn(turns: Turns, requests: list[tuple[str, float]]) -> list[str]:
    """Names in the order in which they have their turns, after one that is at work."""
    order = []

    async def one(name: str, patience: float) -> None:
        try:
            async with turns.turn(patience):
                order.append(name)
                await asyncio.sleep(0.01)
        except Refusal as refusal:
            order.append(f"{name} {refusal.status}")

    async def all_of_them() -> None:
        await asyncio.gather(*(one(*request) for request in [("first", 0.0), *requests]))

    asyncio.run(all_of_them())
    return order


def test_large_pictures_let_small_ones_go_before() -> None:
    requests = [("large", 5.0), ("small", 0.1), ("middle", 1.0)]
    assert in_turn(Turns(1, 9), requests) == ["first", "small", "middle", "large"]


def test_more_than_may_wait_are_refused_and_the_rest_go_on() -> None:
    turns = Turns(1, 2)
    assert sorted(in_turn(turns, [(str(i), float(i)) for i in range(4)])) == ["0", "1", "2 429", "3 429", "first"]
    assert (turns.active, turns.waiting) == (0, [])
    assert in_turn(turns, []) == ["first"]


def test_who_leaves_the_queue_holds_up_nobody() -> None:
    turns = Turns(1, 9)

    async def story() -> list[str]:
        order = []

        async def one(name: str) -> None:
            async with turns.turn():
                order.append(name)
                await asyncio.sleep(0.02)

        tasks = [asyncio.create_task(one(name)) for name in "abc"]
        await asyncio.sleep(0.01)
        tasks[1].cancel()
        tasks[0].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return order

    assert asyncio.run(story()) == ["a", "c"]
    assert turns.active == 0
