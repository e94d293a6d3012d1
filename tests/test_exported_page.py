"""The page that `impasto export` writes, in a real browser with the real runtime: it paints what `stylize` paints."""

import os
import re
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from impasto import read_image, stylize, write_image
from impasto.choices import ENGINES
from impasto.downloads import fetch
from impasto.errors import WeightsError
from impasto.images import fit
from impasto.pages import RUNTIME, write_page
from impasto.paintings import available
from impasto.styles import builtin_styles
from test_page import CHROMIUM, PICTURES, check_accessible, difference, keep_picture

Pixels = npt.NDArray[np.uint8]
EXAMPLES = Path(__file__).parent.parent / "examples"
SIZES = {"desktop": (1280, 800), "phone": (390, 844)}
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium, as of Debian's package chromium")


class Handler(SimpleHTTPRequestHandler):
    """Serves the server's folder; with the two headers that threads need where the server is isolated."""

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
        browser = running.chromium.launch(executable_path=CHROMIUM, args=["--disable-gpu", *sandbox])
        yield browser
        browser.close()


Export = Callable[..., Page]


@pytest.fixture
def export(browser: Browser, server: Server, runtime: Path, tmp_path: Path) -> Iterator[Export]:
    """Write a page of a style and open it; at the end nothing was wrong in the console and nobody else was asked."""
    contexts, wrong = [], []

    def opened(style: str | Path, size: str = "desktop", engine: str | None = None, **options: Any) -> Page:
        folder = server.folder / tmp_path.name
        write_page(style, folder, engine=engine, runtime=runtime)
        width, height = SIZES[size]
        shape: dict[str, Any] = {"viewport": {"width": width, "height": height}, "is_mobile": size == "phone"}
        context = browser.new_context(**shape, **{"locale": "en-GB", "color_scheme": "dark", **options})
        contexts.append(context)
        context.set_default_timeout(60_000)
        page = context.new_page()
        page.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        own = (f"{server.url}/{tmp_path.name}/", "blob:")
        context.on("request", lambda asked: None if asked.url.startswith(own) else wrong.append(asked.url))
        page.goto(f"{server.url}/{tmp_path.name}/index.html")
        page.wait_for_selector("body[data-ready]")
        return page

    yield opened
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
    waiting.value.save_as(path)
    return path


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A photo of odd sides, as PNG, which every decoder reads alike."""
    with Image.open(EXAMPLES / "raccoon.jpg") as image:
        pixels = np.asarray(image.convert("RGB").resize((333, 251)))
    write_image(tmp_path / "photo.png", pixels)
    return tmp_path / "photo.png"


def agree(path: Path, photo: Path, style: str | Path, **options: Any) -> None:
    """Assert that a picture is what `stylize` paints."""
    expected = stylize(read_image(photo), style, precision="float32", **options)
    assert difference(expected, fit(read_image(photo), options.get("max_side", 10**6))) > 5
    assert difference(read_image(path), expected) < 0.5


def test_a_palette_paints_as_stylize_does(export: Export, photo: Path, tmp_path: Path) -> None:
    page = export("palette")
    assert page.get_by_label("Style").locator("option").count() == len(builtin_styles())
    open_photo(page, photo)
    agree(saved(page, tmp_path, "photo-candy.png"), photo, "candy")
    page.get_by_label("Style").select_option("udnie")
    painted(page)
    slide(page, "Strength", 0.5)
    agree(saved(page, tmp_path, "photo-udnie.png"), photo, "udnie", strength=0.5)
    slide(page, "Strokes", 1.4)
    expect(page.get_by_role("button", name="Sharpest strokes")).to_have_attribute("aria-pressed", "false")
    agree(saved(page, tmp_path, "photo-udnie.png"), photo, "udnie", strength=0.5, stroke=2**1.4)
    page.get_by_label("Size").select_option("640")  # larger than the photo, which is never enlarged
    page.get_by_role("button", name="Show the photo").click()
    expect(page.locator("#canvas")).to_have_attribute("aria-label", "Photo")
    slide(page, "Strength", 0)
    assert (read_image(saved(page, tmp_path, "photo-udnie.png")) == read_image(photo)).all()


def test_a_large_photo_is_reduced_as_stylize_does(export: Export, photo: Path, tmp_path: Path, tiny: Path) -> None:
    large = tmp_path / "large.png"
    with Image.open(EXAMPLES / "raccoon.jpg") as image:
        write_image(large, np.asarray(image.convert("RGB").resize((1111, 777))))
    page = export(tiny)
    open_photo(page, large, "640")
    expect(page.locator("#side-told")).to_have_text(re.compile("^640 . 448 px"))
    agree(saved(page, tmp_path, "large-tiny.png"), large, tiny, max_side=640)
    open_photo(page, photo)
    slide(page, "Strength", 0.4)
    agree(saved(page, tmp_path, "photo-tiny.png"), photo, tiny, strength=0.4)
    expect(page.get_by_label("Style")).to_be_hidden()
    expect(page.get_by_role("slider", name="Strokes")).to_be_hidden()
    expect(page).to_have_title("Tiny · Impasto")


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (9, 70)])
def test_photos_smaller_than_the_network_takes(
    export: Export, palette: Path, tmp_path: Path, noise: Callable[..., Pixels], size: tuple[int, int]
) -> None:
    path = tmp_path / "small.png"
    write_image(path, noise(*size))
    page = export(f"{palette}:one:0.3,{palette}:two:0.7")
    open_photo(page, path)
    expected = stylize(noise(*size), f"{palette}:one:0.3,{palette}:two:0.7", precision="float32")
    made = read_image(saved(page, tmp_path, "small-one-two.png"))
    assert made.shape == expected.shape
    assert difference(made, expected) < 1


def test_a_painting_and_a_photo_with_alpha(export: Export, photo: Path, tmp_path: Path, engines: Path) -> None:
    assert engines
    clear = tmp_path / "clear.png"
    with Image.open(photo) as image:
        image.putalpha(Image.linear_gradient("L").resize(image.size).point(lambda v: 255 if v > 99 else 0))
        image.save(clear)
    page = export(EXAMPLES / "cat.jpg")
    open_photo(page, clear)
    with Image.open(saved(page, tmp_path, "clear-cat.png")) as made, Image.open(clear) as given:
        assert (np.asarray(made.getchannel("A")) == np.asarray(given.getchannel("A"))).all()
        opaque = np.asarray(given.getchannel("A")) == 255
        expected = stylize(read_image(photo), EXAMPLES / "cat.jpg", precision="float32")
        assert difference(np.asarray(made.convert("RGB"))[opaque], expected[opaque]) < 1


@pytest.mark.parametrize("engine", [name for name in ENGINES if name in available()])
def test_the_engines_that_are_shipped(export: Export, photo: Path, tmp_path: Path, engine: str) -> None:
    page = export(EXAMPLES / "cat.jpg", engine=engine)
    with Image.open(photo) as image:
        image.resize((67, 51)).save(photo)  # which a browser too paints within seconds by each
    open_photo(page, photo)
    agree(saved(page, tmp_path, "photo-cat.png"), photo, EXAMPLES / "cat.jpg", engine=engine)


def test_threads_where_the_server_allows_them(export: Export, server: Server, photo: Path, tmp_path: Path) -> None:
    server.isolated = True
    page = export("candy")
    assert page.evaluate("crossOriginIsolated")
    open_photo(page, photo)
    server.isolated = False
    agree(saved(page, tmp_path, "photo-candy.png"), photo, "candy")


@pytest.mark.parametrize("size", SIZES)
def test_everybody_can_use_it(export: Export, photo: Path, invert: Path, size: str) -> None:
    page = export(invert, size)
    check_accessible(page)
    open_photo(page, photo)
    check_accessible(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_in_chinese(export: Export, photo: Path) -> None:
    page = export("great_wave", locale="zh-CN", color_scheme="light")
    page.locator("#file").set_input_files(photo)
    painted(page)
    expect(page).to_have_title("神奈川冲浪里 · Impasto")
    expect(page.locator("#status")).to_have_text(re.compile("绘制用时"))
    check_accessible(page)
    assert not re.search(
        "[A-Za-z]{3,}", re.sub("Impasto|English|PNG", "", page.locator("#controls .slider").first.inner_text())
    )
    page.get_by_label("语言").select_option("en")
    expect(page.locator("#status")).to_have_text(re.compile("Painted in"))
    expect(page.locator("#canvas")).to_have_attribute(
        "aria-label", "Your photo, painted in The Great Wave off Kanagawa"
    )


def test_what_cannot_be_read_is_said_and_the_rest_goes_on(
    export: Export, photo: Path, invert: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    page = export(invert)
    page.locator("#file").set_input_files(tmp_path / "broken.jpg")
    expect(page.get_by_role("alert")).to_have_text("This browser cannot read that picture.")
    open_photo(page, photo)
    expect(page.get_by_role("alert")).to_be_empty()
    assert (read_image(saved(page, tmp_path, "photo-invert.png")) == 255 - read_image(photo)).all()


@pytest.mark.parametrize("name", ["style.onnx", "onnxruntime/ort.wasm.bundle.min.js"])
def test_a_missing_file_is_said_and_tried_again(
    browser: Browser, server: Server, runtime: Path, invert: Path, photo: Path, tmp_path: Path, name: str
) -> None:
    folder = server.folder / tmp_path.name
    write_page(invert, folder, runtime=runtime)
    (folder / name).rename(folder / "away")
    page = browser.new_page(locale="en-GB")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{server.url}/{tmp_path.name}/")
    page.locator("#file").set_input_files(photo)
    expect(page.get_by_role("alert")).to_contain_text("A file is missing in the folder of this page: ")
    expect(page.get_by_role("alert")).to_contain_text(name.partition("/")[0])
    expect(page.locator("#busy")).to_be_hidden()
    page.wait_for_timeout(500)
    assert len([url for url in asked if url.endswith("painter.js")]) == 1
    (folder / "away").rename(folder / name)
    slide(page, "Strength", 1)
    page.close()


def test_a_photo_of_81_megapixels(export: Export, invert: Path, tmp_path: Path) -> None:
    Image.new("RGB", (9000, 9000), (200, 100, 50)).save(tmp_path / "huge.png")
    page = export(invert)
    open_photo(page, tmp_path / "huge.png", "640")
    made = read_image(saved(page, tmp_path, "huge-invert.png"))
    assert made.shape == (640, 640, 3)
    assert (made == (55, 155, 205)).all()
    page.get_by_label("Size").select_option("0")
    expect(page.locator("#side-told")).to_have_text(re.compile("^3464 . 3464 px"))


def test_a_photo_is_dropped_while_another_is_painted(
    export: Export, server: Server, photo: Path, invert: Path, tmp_path: Path
) -> None:
    page = export(invert)
    write_image(server.folder / tmp_path.name / "other.png", 255 - read_image(photo))
    page.locator("#file").set_input_files(photo)
    transfer = page.evaluate_handle(
        """async (text) => {
          const data = new DataTransfer();
          const bytes = await (await fetch(text)).arrayBuffer();
          data.items.add(new File([bytes], "other.png", { type: "image/png" }));
          return data;
        }""",
        "other.png",
    )
    page.dispatch_event("body", "drop", {"dataTransfer": transfer})
    expect(page.locator("#busy")).to_be_hidden()
    assert (read_image(saved(page, tmp_path, "other-invert.png")) == read_image(photo)).all()


def test_of_two_photos_the_last_one_chosen_is_painted(
    export: Export, photo: Path, invert: Path, tmp_path: Path
) -> None:
    page = export(invert)
    write_image(tmp_path / "late.png", 255 - read_image(photo))
    page.evaluate("""() => {
        const real = window.createImageBitmap;
        window.createImageBitmap = async (picture, ...more) => {
            if (picture.name === "late.png") await new Promise((resolve) => setTimeout(resolve, 1500));
            if (picture.name === "late.png") document.body.dataset.late = "true";
            return real(picture, ...more);
        };
    }""")
    page.locator("#file").set_input_files(tmp_path / "late.png")
    page.locator("#file").set_input_files(photo)
    page.wait_for_selector("body[data-late]")
    page.wait_for_timeout(300)
    expect(page.locator("#busy")).to_be_hidden()
    assert (read_image(saved(page, tmp_path, "photo-invert.png")) == 255 - read_image(photo)).all()


@pytest.mark.skipif(PICTURES is None, reason="the picture of docs/export.md is taken where IMPASTO_SCREENSHOTS is set")
def test_the_picture_of_the_document(export: Export) -> None:
    page = export("palette")
    page.get_by_label("Style").select_option("starry_night")
    open_photo(page, EXAMPLES / "raccoon.jpg")
    keep_picture(page, "export")
