"""The page in a real browser: every function with real files, at the size of a desktop and of a phone."""

import io
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Locator,
    Page,
    Response,
    WebSocketRoute,
    expect,
    sync_playwright,
)

from clipmaker import blocks, packets, stamps, write_clip
from impasto import read_image, stylize, write_image
from impasto.images import fit
from impasto.paintings import available
from impasto.recipes import hash_of, read_recipe
from impasto.styles import builtin_styles
from serving import Server, serving, with_engines

Pixels = npt.NDArray[np.uint8]
EXAMPLES = Path(__file__).parent.parent / "examples"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PICTURES = os.environ.get("IMPASTO_SCREENSHOTS")
"""Folder for the pictures of docs/web.md; they are not kept unless it is given."""
SIZES = {"desktop": (1280, 800), "phone": (390, 844)}
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium, as of Debian's package chromium")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose engines, where none are shipped, paint a painting's mean colour."""
    environment = {} if available() else with_engines(tmp_path_factory.mktemp("engines"))
    with serving("--client-jobs", "8", "--video-mb", "2", **environment) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        flags = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--disable-gpu"]
        sandbox = [] if os.name != "posix" or os.geteuid() else ["--no-sandbox"]
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=[*flags, *sandbox])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo of 900 x 600, as a camera writes it: turned, and saying so."""
    path = tmp_path_factory.mktemp("photos") / "photo.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned right by a quarter
    with Image.open(EXAMPLES / "raccoon.jpg") as image:
        image.resize((900, 600)).transpose(Image.Transpose.ROTATE_90).save(path, quality=92, exif=exif)
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second over a photo, 640 x 360, with sound."""
    with Image.open(EXAMPLES / "raccoon.jpg") as image:
        wide = image.convert("RGB").resize((768, 512))
    frames = [np.asarray(wide.crop((4 * i, 60, 4 * i + 640, 420))) for i in range(25)]
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    return write_clip(path, frames, options={"crf": "18"}, seconds_of_sound=1.0)


def words_of(said: ConsoleMessage) -> str:
    return f"{said.text} [{said.location['url']}]"


DESKTOP = pytest.mark.parametrize("open_page", ["desktop"], indirect=True)
Open = Callable[..., Page]


@pytest.fixture(params=SIZES)
def open_page(request: pytest.FixtureRequest, browser: Browser, server: Server) -> Iterator[Open]:
    """Open the page, at each size; at the end, nothing was wrong in the console and nobody else was asked."""
    width, height = SIZES[request.param]
    is_phone = request.param == "phone"
    contexts, wrong = [], []

    def opened(**options: Any) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            is_mobile=is_phone,
            has_touch=is_phone,
            **{"color_scheme": "dark", "locale": "en-GB", "reduced_motion": "reduce", **options},
        )
        contexts.append(context)
        context.set_default_timeout(60_000)
        page = context.new_page()
        page.on("console", lambda said: wrong.append(words_of(said)) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda asked: check_address(asked.url, server, wrong))
        page.goto(server.url)
        page.wait_for_selector("body[data-ready]")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert [words for words in wrong if "422 (" not in words] == []


@pytest.fixture
def page(open_page: Open) -> Page:
    return open_page()


def check_address(url: str, server: Server, wrong: list[str]) -> None:
    """Note an address that is not the server's own."""
    if not url.startswith((f"{server.url}/", "blob:", f"ws://127.0.0.1:{server.port}/")):
        wrong.append(f"asked for {url}")


def history(page: Page, count: int) -> Locator:
    """Wait until so many pictures are in the history."""
    expect(page.locator("#strip button")).to_have_count(count, timeout=60_000)
    return page.locator("#strip button")


def open_photo(page: Page, path: Path) -> None:
    """Choose a photo and wait for its painting."""
    history(page, 1)
    with page.expect_file_chooser() as chooser:
        page.locator("#choose").click()
    chooser.value.set_files(path)
    expect(page.locator("#welcome")).to_be_hidden()
    history(page, 1)
    expect(page.locator("#busy")).to_be_hidden(timeout=60_000)


def at_rest(page: Page) -> None:
    """Wait until what was moved is painted in full."""
    page.wait_for_timeout(300)
    expect(page.locator("#busy")).to_be_hidden(timeout=60_000)


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def pixels_of(path: Path) -> Pixels:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def download(page: Page, kind: str, folder: Path) -> Path:
    """Download the painting as a format."""
    page.locator("#format").select_option(kind)
    with page.expect_download() as waiting:
        page.locator("#download").click()
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path


def shown(page: Page) -> Pixels:
    """What the stage shows."""
    return np.asarray(Image.open(io.BytesIO(page.locator("#stage").screenshot())).convert("RGB"))


def difference(one: Pixels, other: Pixels) -> float:
    return float(np.abs(one.astype(float) - other).mean())


def keep_picture(page: Page, name: str) -> None:
    """Keep a picture of the page, where that is wanted."""
    width, _ = SIZES["phone" if "phone" in name else "desktop"]
    if PICTURES and page.viewport_size and page.viewport_size["width"] == width:
        page.mouse.move(1, 1)
        Path(PICTURES).mkdir(exist_ok=True)
        data = page.screenshot()
        Image.open(io.BytesIO(data)).convert("RGB").save(Path(PICTURES) / f"{name}.jpg", quality=88)


def check_accessible(page: Page) -> None:
    """Whether axe-core finds nothing wrong."""
    found = Axe().run(page)
    assert not found.response["violations"], found.generate_report()


# ------------------------------------------------------------------------------------------------------------- painting


def test_it_opens_with_a_painted_sample(page: Page) -> None:
    history(page, 1)
    expect(page.get_by_role("radio", name="The Starry Night")).to_be_checked()
    assert page.get_by_role("radiogroup", name="Styles").get_by_role("radio").count() == len(builtin_styles())
    expect(page.locator("#canvas")).to_have_attribute("aria-label", re.compile("The sample photo, painted in"))
    expect(page.locator("#download")).to_be_disabled()
    expect(page.locator("#styles img.there")).to_have_count(len(builtin_styles()), timeout=60_000)
    keep_picture(page, "web-first")


def test_a_photo_is_painted_in_three_clicks(page: Page, photo: Path, tmp_path: Path) -> None:
    open_photo(page, photo)
    page.get_by_role("radio", name="The Scream").click()
    history(page, 2)
    expect(page.locator("#canvas")).to_have_attribute("aria-label", "Your photo, painted in The Scream")
    for kind, suffix in (("jpeg", "jpg"), ("png", "png"), ("webp", "webp")):
        path = download(page, kind, tmp_path)
        assert path.name == f"painting-the_scream.{suffix}"
        with Image.open(path) as image:
            assert (image.size, (image.format or "").lower()) == ((900, 600), kind)
        assert read_recipe(path)["settings"]["weights"] == {"the_scream": 1}
    expect(page.locator("#styles img[src^=blob]")).to_have_count(len(builtin_styles()), timeout=60_000)
    page.locator("#compare").click()
    keep_picture(page, "web-compare")
    keep_picture(page, "web-phone")


@DESKTOP
def test_sliders_answer_and_are_undone(page: Page, photo: Path) -> None:
    open_photo(page, photo)
    strong = shown(page)
    strength = page.get_by_role("slider", name="Strength")
    strength.fill("0")
    history(page, 2)
    plain = shown(page)
    assert difference(strong, plain) > 5
    expect(page.locator("#strength-told")).to_have_text("0%")
    page.get_by_role("button", name="Undo").click()
    expect(strength).to_have_value("1")
    page.wait_for_timeout(300)
    assert difference(shown(page), strong) < 2
    page.keyboard.press("Control+Shift+Z")
    expect(strength).to_have_value("0")
    page.get_by_role("button", name="Undo").click()
    at_rest(page)
    page.get_by_role("slider", name="Strokes").fill("1.4")
    expect(page.get_by_role("button", name="Sharpest strokes")).to_have_attribute("aria-pressed", "false")
    expect(page.locator("#stroke-told")).to_have_text("\u00d7 2.64")
    at_rest(page)
    history(page, 2)
    page.get_by_label("Colours").select_option("luma")
    history(page, 3)
    page.get_by_role("button", name=re.compile("^1 of 3")).click()
    expect(page.get_by_label("Colours")).to_have_value("style")


@DESKTOP
def test_a_preview_comes_before_the_full_picture(page: Page, photo: Path) -> None:
    open_photo(page, photo)
    answers: list[Response] = []
    page.on("response", lambda answer: answers.append(answer) if "stylize" in answer.url else None)
    expect(page.locator("#styles img[src^=blob]")).to_have_count(len(builtin_styles()), timeout=60_000)
    answers.clear()
    page.get_by_role("slider", name="Strength").fill("0.5")
    history(page, 2)
    small, large = ([*map(int, answer.headers["x-impasto-size"].split("x"))] for answer in answers)
    assert (small, large) == ([560, 373], [900, 600])


@DESKTOP
def test_a_blend(page: Page, photo: Path, tmp_path: Path) -> None:
    open_photo(page, photo)
    page.get_by_role("tab", name="Blend").click()
    history(page, 2)
    pad = page.get_by_role("application", name=re.compile("Blend"))
    pad.focus()
    for _ in range(20):
        page.keyboard.press("ArrowLeft")
    for _ in range(5):
        page.keyboard.press("ArrowUp")
    expect(page.locator("#shares")).to_have_text(re.compile(r"The Starry Night 75%\s+·\s+The Great Wave.* 25%"))
    keep_picture(page, "web-blend")
    page.get_by_label("Corner 1").select_option("udnie")
    expect(page.locator("#shares")).to_have_text(re.compile("^Udnie"))
    weights = read_recipe(download(page, "png", tmp_path))["settings"]["weights"]
    assert weights == {"udnie": 0.75, "great_wave": 0.25}
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    assert box
    page.mouse.click(box["x"] + box["width"] - 10, box["y"] + 10)  # the corners are round
    expect(page.locator("#shares")).to_have_text(re.compile("^The Scream 9"))


def test_a_mask_keeps_the_photo(page: Page, photo: Path, tmp_path: Path) -> None:
    open_photo(page, photo)
    page.get_by_role("tab", name="Mask").click()
    box = page.locator("#canvas").bounding_box()
    assert box
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.get_by_role("slider", name="Brush").fill("40")
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + 5, middle[1])
    page.mouse.up()
    history(page, 2)
    keep_picture(page, "web-mask")
    painted = pixels_of(download(page, "png", tmp_path))
    upright = np.rot90(pixels_of(photo), -1)
    assert difference(painted[280:320, 430:470], upright[280:320, 430:470]) < 1
    assert difference(painted[:60], upright[:60]) > 10
    page.get_by_role("button", name="Invert").click()
    history(page, 3)
    inverted = pixels_of(download(page, "png", tmp_path))
    assert difference(inverted[:60], upright[:60]) < 1
    page.get_by_role("button", name="Paint all").click()
    history(page, 4)
    page.get_by_role("button", name="Undo").click()
    again = pixels_of(download(page, "png", tmp_path))
    np.testing.assert_array_equal(again, inverted)


@DESKTOP
def test_a_mask_is_brushed_by_keys_alone(page: Page, photo: Path, tmp_path: Path) -> None:
    open_photo(page, photo)
    upright = np.rot90(pixels_of(photo), -1)
    canvas, middle = page.locator("#canvas"), (slice(280, 320), slice(430, 470))
    page.get_by_role("tab", name="Mask").focus()
    page.keyboard.press("Enter")
    page.locator("#theme").focus()
    page.keyboard.press("Tab")
    expect(canvas).to_be_focused()
    expect(page.get_by_role("application", name="Your photo, painted in The Starry Night")).to_be_focused()
    expect(canvas).to_have_accessible_description(re.compile("Arrow keys move the brush"))
    check_accessible(page)
    still = shown(page)
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    expect(page.locator("#status")).to_have_text("57% across, 50% down; brush 12%.")
    assert difference(shown(page), still) > 0
    page.keyboard.press("Shift+ArrowLeft")
    page.wait_for_timeout(100)
    np.testing.assert_array_equal(shown(page), still)  # the ring is back in the middle
    for _ in range(20):
        page.keyboard.press("]")
    expect(page.get_by_role("slider", name="Brush")).to_have_value("40")
    page.keyboard.press("[")
    expect(page.get_by_role("slider", name="Brush")).to_have_value("38")
    page.keyboard.down("Space")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.up("Space")
    history(page, 2)
    kept = pixels_of(download(page, "png", tmp_path))
    assert difference(kept[middle], upright[middle]) < 1
    assert difference(kept[280:320, 550:590], upright[280:320, 550:590]) < 1  # a fifth of 600 to the right
    assert difference(kept[280:320, 200:240], upright[280:320, 200:240]) > 10
    canvas.focus()
    for _ in range(2):
        page.keyboard.press("Shift+ArrowLeft")
    page.keyboard.press("e")
    history(page, 3)
    erased = pixels_of(download(page, "png", tmp_path))
    assert difference(erased[middle], upright[middle]) > 10
    page.keyboard.press("Control+Z")
    again = pixels_of(download(page, "png", tmp_path))
    np.testing.assert_array_equal(again, kept)
    page.get_by_role("tab", name="Style").click()
    expect(page.get_by_role("img", name=re.compile("^Your photo, painted"))).to_be_visible()
    assert not page.evaluate("document.querySelector('#canvas').hasAttribute('tabindex')")


@DESKTOP
def test_compare_and_zoom(page: Page, photo: Path) -> None:
    open_photo(page, photo)
    painted = shown(page)
    page.get_by_role("button", name="Compare with the photo").click()
    split = page.get_by_role("slider", name="Before and after")
    expect(split).to_have_attribute("aria-valuenow", "50")
    split.press("End")
    expect(split).to_have_attribute("aria-valuenow", "100")
    assert difference(shown(page), painted) > 5
    box = split.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 2 - 4, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] - 100, box["y"] + 100, steps=4)
    page.mouse.up()
    assert int(split.get_attribute("aria-valuenow") or 0) < 90
    page.get_by_role("button", name="Compare with the photo").click()
    expect(split).to_be_hidden()
    for _ in range(3):
        page.get_by_role("button", name="Larger").click()
    fit = page.get_by_role("button", name="Fit")
    expect(fit).to_have_text("338%")
    assert difference(shown(page), painted) > 5
    fit.click()
    expect(fit).to_have_text("100%")


# ---------------------------------------------------------------------------------------------- other ways, other words


@DESKTOP
def test_a_photo_is_pasted_and_dropped(page: Page, photo: Path) -> None:
    history(page, 1)
    give = """async ([kind, bytes]) => {
        const file = new File([new Uint8Array(bytes)], "x.jpg", { type: "image/jpeg" });
        const data = new DataTransfer();
        data.items.add(file);
        const event = kind === "paste" ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true })
            : new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true });
        document.body.dispatchEvent(event);
    }"""
    page.evaluate(give, ["dragenter", []])
    expect(page.locator("#drop")).to_have_class("there")
    data = list(photo.read_bytes())
    page.evaluate(give, ["drop", data])
    expect(page.locator("#drop")).not_to_have_class("there")
    expect(page.locator("#download")).to_be_enabled()
    history(page, 1)
    page.get_by_role("radio", name="Udnie").click()
    history(page, 2)
    page.evaluate(give, ["paste", data])
    history(page, 1)


@DESKTOP
def test_of_two_photos_the_last_one_chosen_is_shown(page: Page, photo: Path, tmp_path: Path) -> None:
    history(page, 1)
    page.evaluate("""() => {
        const real = window.createImageBitmap;
        window.createImageBitmap = async (picture, ...more) => {
            if (picture.name === "photo.jpg") await new Promise((resolve) => setTimeout(resolve, 1500));
            if (picture.name === "photo.jpg") document.body.dataset.late = "true";
            return real(picture, ...more);
        };
    }""")
    other = tmp_path / "other.jpg"
    with Image.open(photo) as image:
        image.resize((240, 160)).save(other)
    page.locator("#file").set_input_files(photo)
    page.locator("#file").set_input_files(other)
    page.wait_for_selector("body[data-late]")
    at_rest(page)
    assert size_of(download(page, "jpeg", tmp_path)) == (240, 160)


@DESKTOP
def test_what_is_no_picture_is_told_in_words(page: Page, tmp_path: Path) -> None:
    history(page, 1)
    path = tmp_path / "text.jpg"
    path.write_text("not a picture")
    page.locator("#file").set_input_files(path)
    expect(page.get_by_role("alert")).to_contain_text("cannot be read")
    page.get_by_role("alert").get_by_role("button", name="Close").click()
    expect(page.get_by_role("alert")).to_be_empty()
    expect(page.locator("#download")).to_be_disabled()


@DESKTOP
def test_a_picture_that_browsers_do_not_know(page: Page, photo: Path, tmp_path: Path) -> None:
    history(page, 1)
    with Image.open(photo) as image:
        image.save(tmp_path / "photo.tif")
    page.locator("#file").set_input_files(tmp_path / "photo.tif")
    expect(page.locator("#download")).to_be_enabled()
    history(page, 1)
    assert size_of(download(page, "jpeg", tmp_path)) == (600, 900)


def test_english_and_chinese_dark_and_light(open_page: Open) -> None:
    page = open_page(color_scheme="light", locale="zh-CN")
    history(page, 1)
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
    expect(page.get_by_role("button", name="选择照片")).to_be_visible()
    expect(page.get_by_role("radio", name="星夜")).to_be_checked()
    keep_picture(page, "web-chinese-phone")
    left = page.evaluate("""() => [...document.querySelectorAll("[data-text], [data-label]")]
        .map((element) => (element.dataset.text ? element.textContent : element.ariaLabel))
        .filter((text) => !/[\\u4e00-\\u9fff]/.test(text))""")
    assert left == []
    page.locator("#theme").click()
    page.locator("#language").select_option("en")
    expect(page.get_by_role("button", name="Choose a photo")).to_be_visible()
    page.reload()
    page.wait_for_selector("body[data-ready]")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    expect(page.locator("html")).to_have_attribute("lang", "en")


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_it_is_accessible(open_page: Open, photo: Path, scheme: str) -> None:
    page = open_page(color_scheme=scheme)
    history(page, 1)
    expect(page.locator("#busy")).to_be_hidden(timeout=60_000)
    check_accessible(page)
    open_photo(page, photo)
    page.locator("#compare").click()
    for tab in ("Blend", "Mask", "Studio", "Style"):
        page.get_by_role("tab", name=tab).click()
        check_accessible(page)


@DESKTOP
def test_the_keyboard_reaches_everything(page: Page) -> None:
    history(page, 1)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the controls")).to_be_focused()
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.dataset.style || ''"))
    wanted = {"language", "theme", "choose", "tab-style", "starry_night", "strength", "stroke", "colors", "format"}
    assert wanted <= reached
    page.locator("#tab-style").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Blend")).to_have_attribute("aria-selected", "true")
    page.keyboard.press("ArrowLeft")
    page.get_by_role("radio", name="The Starry Night").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("radio", name="The Great Wave")).to_be_checked()


def test_nothing_is_wider_than_the_page(page: Page) -> None:
    for tab in ("Blend", "Mask", "Studio", "Style"):
        page.get_by_role("tab", name=tab).click()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


# ------------------------------------------------------------------------------------------------- webcam and long work


def test_the_webcam_is_painted(page: Page, tmp_path: Path) -> None:
    history(page, 1)
    page.get_by_role("button", name="Paint my webcam").locator("visible=true").click()
    expect(page.get_by_role("button", name="Keep this picture")).to_be_enabled()
    page.wait_for_timeout(1500)
    first = shown(page)
    page.get_by_role("radio", name="Portrait in pencil").click()
    page.wait_for_timeout(1500)
    sketch = shown(page)
    assert difference(first, sketch) > 3
    page.get_by_role("button", name="Keep this picture").click()
    expect(page.get_by_role("button", name="Download")).to_be_enabled()
    history(page, 1)
    assert max(size_of(download(page, "jpeg", tmp_path))) >= 640


@DESKTOP
def test_a_webcam_is_asked_for_once_and_a_server_that_has_too_many_says_so(page: Page) -> None:
    history(page, 1)
    page.evaluate("""() => {
        const real = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
        window.asked = 0;
        navigator.mediaDevices.getUserMedia = async (wanted) => {
            window.asked++;
            await new Promise((resolve) => setTimeout(resolve, 500));
            return real(wanted);
        };
    }""")

    def full(socket: WebSocketRoute) -> None:
        socket.send('{"error": {"code": "busy", "message": "too many webcams"}}')
        socket.close(code=1013)

    page.route_web_socket("**/v1/live", full)
    for _ in range(2):
        page.locator("#webcam").click()
    expect(page.locator("#alerts")).to_have_text(re.compile("Too many pictures wait"))
    expect(page.locator("#webcam")).to_have_attribute("aria-pressed", "false")
    assert page.evaluate("window.asked") == 1


@DESKTOP
def test_long_work_is_watched_cancelled_and_used(page: Page, photo: Path, tmp_path: Path) -> None:
    open_photo(page, photo)
    page.get_by_role("tab", name="Studio").click()
    painting = tmp_path / "painting.jpg"
    write_image(painting, stylize(fit(read_image(EXAMPLES / "coffee.jpg"), 400), "wheat_field"))
    form = page.locator("#optimise")
    form.get_by_label("Painting").set_input_files(painting)
    form.get_by_label("Size").select_option("256")
    form.get_by_label("Iterations").select_option("50")
    form.get_by_role("button", name="Begin").click()
    job = page.locator(".job").first
    expect(job.get_by_role("heading")).to_have_text("Optimisation")
    expect(job.get_by_role("status")).to_have_text(re.compile(r"\d+%, \d+ (s|min) left"), timeout=120_000)
    expect(job.locator("img")).to_be_visible(timeout=120_000)
    expect(job.locator(".curve")).to_be_visible(timeout=60_000)
    if PICTURES:
        expect(job.get_by_role("status")).to_have_text(re.compile(r"^[5-9]\d%"), timeout=400_000)
    keep_picture(page, "web-studio")
    check_accessible(page)
    optimised = shown(page)
    page.get_by_role("tab", name="Style").click()
    expect(page.locator("#busy")).to_be_hidden(timeout=60_000)
    page.wait_for_timeout(600)
    assert difference(shown(page), optimised) > 3  # what the controls say is shown again, and what Download gives
    page.reload()
    page.get_by_role("tab", name="Studio").click()
    expect(job.get_by_role("heading")).to_have_text("Optimisation")
    job.get_by_role("button", name="Cancel").click()
    expect(page.locator(".job")).to_have_count(0)

    page.get_by_role("tab", name="Style").click()
    open_photo(page, photo)
    page.get_by_role("tab", name="Studio").click()
    form = page.locator("#train")
    form.get_by_label("Painting").set_input_files(painting)
    form.get_by_label("Name").fill("coffee")
    form.get_by_label("Minutes").fill("0.1")
    form.get_by_role("button", name="Begin").click()
    expect(job.get_by_role("heading")).to_have_text("Training of coffee")
    expect(job.get_by_role("status")).to_have_text("Done", timeout=200_000)
    with page.expect_download() as waiting:
        job.get_by_role("link", name="Save the style file").click()
    assert waiting.value.suggested_filename == "style.onnx"
    job.get_by_role("button", name="Paint with it").click()
    expect(page.get_by_role("radio", name="coffee")).to_be_checked()
    history(page, 2)
    assert download(page, "jpeg", tmp_path).name == "painting-own-style.jpg"


# ----------------------------------------------------------------------------------------------------- a video


def open_clip(page: Page, clip: Path) -> None:
    """Choose a video and wait for the painting of its frame."""
    history(page, 1)
    page.locator("#file").set_input_files(clip)
    expect(page.locator("#clip-told")).to_have_text("A video of 1 s. You see one frame of it.", timeout=60_000)
    history(page, 1)


def test_styles_are_tried_on_a_frame_of_a_video(page: Page, clip: Path, photo: Path) -> None:
    open_clip(page, clip)
    expect(page.locator("#canvas")).to_have_attribute("aria-label", re.compile("^A frame of your video, painted in"))
    expect(page.get_by_role("button", name="Paint the video")).to_be_enabled()
    expect(page.locator("#clip-size")).to_have_value("1280")
    expect(page.get_by_label("Format")).to_be_hidden()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    check_accessible(page)
    keep_picture(page, "web-video-phone")
    page.locator("#file").set_input_files(photo)
    expect(page.get_by_role("button", name="Download")).to_be_enabled()
    expect(page.locator("#clip-told")).to_be_hidden()
    expect(page.get_by_label("Format")).to_be_visible()


@DESKTOP
def test_a_video_is_painted_watched_and_saved(page: Page, clip: Path, tmp_path: Path) -> None:
    open_clip(page, clip)
    page.get_by_role("radio", name="The Scream").click()
    history(page, 2)
    frame = shown(page)
    page.locator("#clip-size").select_option("640")
    page.get_by_role("button", name="Paint the video").click()
    job = page.locator(".job[data-job]").first
    expect(job.get_by_role("heading")).to_have_text("Video, The Scream", timeout=60_000)
    running = re.compile(r"^Frame \d+ of 25, [\d.]+ a second, \d+ (s|min) left$")
    expect(job.get_by_role("status")).to_have_text(running, timeout=120_000)
    expect(job.locator("img")).to_be_visible(timeout=60_000)
    assert difference(shown(page), frame) < 40
    keep_picture(page, "web-video")
    check_accessible(page)
    expect(job.get_by_role("status")).to_have_text("Done", timeout=200_000)
    expect(job.get_by_label("The painted video")).to_be_visible()
    seconds = page.locator(".job video").evaluate("""(video) => new Promise((resolve) => {
        const tell = () => resolve(video.duration);
        if (video.readyState) tell();
        else video.addEventListener("loadedmetadata", tell);
    })""")
    assert seconds > 0.9
    check_accessible(page)
    with page.expect_download() as waiting:
        job.get_by_role("link", name="Save the video").click()
    assert waiting.value.suggested_filename == "painting.mp4"
    waiting.value.save_as(tmp_path / "painting.mp4")
    assert stamps(tmp_path / "painting.mp4") == stamps(clip)
    assert len(packets(tmp_path / "painting.mp4", "audio")) > 40
    page.locator("#language").select_option("zh")
    expect(job.get_by_role("link", name="保存视频")).to_be_visible()
    expect(job.get_by_label("绘制好的视频")).to_be_visible()
    job.get_by_role("button", name="移除").click()
    expect(page.locator(".job")).to_have_count(0)


@DESKTOP
def test_a_video_is_cancelled_and_found_again(page: Page, tmp_path: Path) -> None:
    long = write_clip(tmp_path / "long.mp4", blocks(240, 320, 1500, step=1), rate=100, options={"crf": "40"})
    history(page, 1)
    page.locator("#file").set_input_files(long)
    page.get_by_role("button", name="Paint the video").click()
    job = page.locator(".job[data-job]").first
    expect(job.get_by_role("status")).to_have_text(re.compile("^Frame"), timeout=120_000)
    page.reload()
    page.wait_for_selector("body[data-ready]")
    page.get_by_role("tab", name="Studio").click()
    expect(job.get_by_role("heading")).to_have_text("Video, The Starry Night")
    job.get_by_role("button", name="Cancel").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".job")).to_have_count(0)
    page.get_by_role("tab", name="Style").click()
    at_rest(page)
    expect(page.locator("#canvas")).to_have_attribute("aria-label", re.compile("The sample photo"))


@DESKTOP
def test_what_is_no_video_or_too_large_is_told_in_words(page: Page, tmp_path: Path) -> None:
    history(page, 1)
    (tmp_path / "text.mp4").write_text("#EXTM3U\nfile:///etc/passwd\n")
    page.locator("#file").set_input_files(tmp_path / "text.mp4")
    expect(page.locator("#clip-told")).to_have_text(re.compile("cannot show this video"), timeout=30_000)
    page.get_by_role("button", name="Paint the video").click()
    expect(page.get_by_role("alert")).to_contain_text("no video, or is broken")
    expect(page.locator(".job")).to_have_count(0)
    (tmp_path / "large.mp4").write_bytes(bytes(2_100_000))
    page.get_by_role("tab", name="Style").click()
    page.locator("#file").set_input_files(tmp_path / "large.mp4")
    expect(page.get_by_role("alert")).to_contain_text("2 MB")


# ------------------------------------------------------------------------------------------- a painting of one's own


def test_a_painting_of_ones_own_is_a_style(page: Page, photo: Path, tmp_path: Path) -> None:
    open_photo(page, photo)
    painting = tmp_path / "IMG_1.jpg"
    write_image(painting, stylize(fit(read_image(EXAMPLES / "coffee.jpg"), 500), "wheat_field"))
    before = shown(page)
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Your painting…").click()
    chooser.value.set_files(painting)
    tile = page.get_by_role("radio", name="Your painting")
    expect(tile).to_be_checked(timeout=60_000)
    expect(tile).to_be_focused()
    history(page, 2)
    expect(page.locator("#canvas")).to_have_attribute("aria-label", "Your photo, painted in Your painting")
    expect(tile.locator("img[src^=blob]")).to_be_visible(timeout=60_000)
    assert difference(shown(page), before) > 3
    page.get_by_role("slider", name="Strength").fill("0.6")
    history(page, 3)
    path = download(page, "png", tmp_path)
    assert path.name == "painting-own-painting.png"
    recipe = read_recipe(path)
    assert recipe["settings"]["paintings"] == {"painting": 1.0}
    assert recipe["files"]["painting"] == hash_of(painting)
    if available():
        keep_picture(page, "web-painting")
    check_accessible(page)
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Your painting…").click()
    chooser.value.set_files(photo)
    expect(page.get_by_role("radio", name="Your painting 2")).to_be_checked(timeout=60_000)
    history(page, 4)
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("radio", name="Your painting", exact=True)).to_be_checked()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@DESKTOP
def test_a_painting_that_is_none_and_a_webcam_after_one(page: Page, photo: Path, tmp_path: Path) -> None:
    history(page, 1)
    (tmp_path / "text.jpg").write_text("not a picture")
    page.locator("#file-painting").set_input_files(tmp_path / "text.jpg")
    expect(page.get_by_role("alert")).to_contain_text("cannot be read")
    page.get_by_role("alert").get_by_role("button", name="Close").click()
    page.locator("#file-painting").set_input_files(photo)
    expect(page.get_by_role("radio", name="Your painting")).to_be_checked(timeout=60_000)
    history(page, 2)
    page.get_by_role("button", name="Paint my webcam").locator("visible=true").click()
    expect(page.get_by_role("button", name="Keep this picture")).to_be_enabled()
    page.wait_for_timeout(2000)
    expect(page.get_by_role("alert")).to_be_empty()
    first = shown(page)
    page.get_by_role("radio", name="Portrait in pencil").click()
    page.wait_for_timeout(2000)
    assert difference(first, shown(page)) > 3


@DESKTOP
def test_where_there_is_no_engine_the_tile_is_hidden(page: Page) -> None:
    expect(page.get_by_role("button", name="Your painting…")).to_be_visible()
    page.route("**/v1/info", lambda route: route.fulfill(json=route.fetch().json() | {"engines": []}))
    page.reload()
    page.wait_for_selector("body[data-ready]")
    expect(page.get_by_role("button", name="Your painting…")).to_be_hidden()
