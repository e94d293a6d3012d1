"""The page that `impasto export` writes, in a real browser with the real runtime: it paints what `stylize` paints."""

import os
import re
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from impasto import read_image, stylize, write_image
from impasto.errors import WeightsError
from impasto.pages import ABOUT, RUNTIME, fetch, write_page
from test_page import CHROMIUM, HUNG_S, KEEP_BLOBS, MARK, check_accessible, difference, fetched, kill_browser

Pixels = npt.NDArray[np.uint8]
EXAMPLES = Path(__file__).parent.parent / "examples"
SIZES = {"desktop": (1280, 800), "phone": (390, 844)}
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium, as of Debian's package chromium"),
    pytest.mark.flaky(reruns=1, only_rerun="has been closed"),
]


class Handler(SimpleHTTPRequestHandler):
    """Serves the folder of the server; alone in its process's memory (which threads need) where a query asks."""

    server: "Server"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args, directory=str(args[2].folder))

    def end_headers(self) -> None:
        if self.server.isolated:
            self.send_header("Cross-Origin-Opener-Policy", "same-origin")
            self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    isolated = False

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.url = f"http://127.0.0.1:{self.server_port}"


@pytest.fixture(scope="module")
def runtime() -> Path:
    """ONNX Runtime Web, from the user's cache or the network."""
    try:
        return fetch(RUNTIME)
    except WeightsError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serves a folder in which each test has its page."""
    with Server(tmp_path_factory.mktemp("pages")) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    sandbox = [] if os.name != "posix" or os.geteuid() else ["--no-sandbox"]
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=["--disable-gpu", MARK, *sandbox])
        yield browser
        browser.close()


Export = Callable[..., Page]


@pytest.fixture
def export(browser: Browser, server: Server, runtime: Path, tmp_path: Path) -> Iterator[Export]:
    """Write a page of a style and open it; at the end nothing was wrong in the console and nobody else was asked."""
    contexts, wrong = [], []
    watch = threading.Timer(HUNG_S, kill_browser)
    watch.start()

    def opened(style: str | Path, size: str = "desktop", **options: Any) -> Page:
        folder = server.folder / tmp_path.name
        write_page(style, folder, runtime=runtime)
        width, height = SIZES[size]
        shape: dict[str, Any] = {"viewport": {"width": width, "height": height}, "is_mobile": size == "phone"}
        context = browser.new_context(**shape, **{"locale": "en-GB", "color_scheme": "dark", **options})
        contexts.append(context)
        context.set_default_timeout(60_000)
        context.add_init_script(KEEP_BLOBS)
        page = context.new_page()
        page.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        own = (f"{server.url}/{tmp_path.name}/", "blob:")
        context.on("request", lambda asked: None if asked.url.startswith(own) else wrong.append(asked.url))
        page.goto(f"{server.url}/{tmp_path.name}/index.html")
        page.wait_for_selector("body[data-ready]")
        return page

    yield opened
    watch.cancel()
    for context in contexts:
        context.close()
    assert wrong == []


def painted(page: Page) -> None:
    """Wait until what was asked for is painted."""
    expect(page.locator("#status")).to_have_text(re.compile("Painted in|绘制用时"), timeout=60_000)
    expect(page.locator("#busy")).to_be_hidden()


def open_photo(page: Page, path: Path, side: str = "0") -> None:
    page.get_by_label("Size").select_option(side)
    page.locator("#file").set_input_files(path)
    painted(page)


def slide(page: Page, name: str, value: float) -> None:
    page.get_by_role("slider", name=name).fill(str(value))
    painted(page)


def saved(page: Page, tmp_path: Path, name: str) -> Path:
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Save as PNG").click()
    assert waiting.value.suggested_filename == name
    path = tmp_path / name
    path.write_bytes(fetched(page, waiting.value.url))
    return path


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A photo of odd sides, as PNG, which every decoder reads alike."""
    with Image.open(EXAMPLES / "raccoon.jpg") as image:
        pixels = np.asarray(image.convert("RGB").resize((333, 251)))
    write_image(tmp_path / "photo.png", pixels)
    return tmp_path / "photo.png"


def test_a_palette_paints_as_stylize_does(export: Export, photo: Path, tmp_path: Path) -> None:
    page = export("palette")
    open_photo(page, photo)
    own = read_image(photo)
    files = [saved(page, tmp_path, "photo-candy.png")]
    asked: list[dict[str, Any]] = [{"style": "candy"}]
    page.get_by_label("Style").select_option("udnie")
    painted(page)
    slide(page, "Strength", 0.5)
    files.append(saved(page, tmp_path, "photo-udnie.png"))
    asked.append({"style": "udnie", "strength": 0.5})
    for path, options in zip(files, asked, strict=True):
        assert difference(read_image(path), stylize(own, **options, precision="float32")) < 0.1
