"""How long the page takes that `impasto export` writes, in Chromium: ``python benchmarks/browser.py [--json FILE]``.

The page of the built-in palette paints a photo, served without and with the two headers that let it use threads. Beside
it `impasto stylize` paints the same photo: in a process that has painted before, in the precision that it chooses and
in the page's float32, and as a whole command. All take turns, and their medians are compared. Of a page, the time runs
from a move of a slider until the painting is shown; its first painting, with all that is fetched and made ready before
it, stands apart. Nothing else should run on the machine.
"""

import argparse
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from impasto.images import read_image, write_image
from impasto.pages import RUNTIME, write_page
from impasto.styles import load_style
from impasto.stylize import stylize
from speed import HD, STYLE, medians, noise_photo, parse, record, run_command, tool

SIZES = {"512": (512, 512), "1080p": HD}
"""Height and width of photos, by what is measured."""
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
PATIENCE_MS = 500_000
"""That a page is given for a painting."""
PAINT = """() => new Promise((resolve, reject) => {
    const [busy, alerts] = ["busy", "alerts"].map((id) => document.getElementById(id));
    new MutationObserver((_, watching) => {
        if (!busy.hidden) return;
        watching.disconnect();
        if (alerts.textContent) reject(new Error(alerts.textContent));
        else resolve();
    }).observe(busy, { attributes: true });
    document.getElementById("strength").dispatchEvent(new Event("change"));
})"""
"""Has a page paint again; ends when the painting is shown."""
THREADS = "() => (crossOriginIsolated ? Math.min(8, navigator.hardwareConcurrency) : 1)"
"""What a page works with, see page/painter.js."""


class Plain(SimpleHTTPRequestHandler):
    """Serves a folder as any server of files does."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Isolated(Plain):
    """Sends the two headers as well."""

    def end_headers(self) -> None:
        """Add them to every answer."""
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()


SERVED: dict[str, type[Plain]] = {"page": Plain, "page with the headers": Isolated}


def main() -> None:
    """Measure what is asked for, print it and write it as JSON."""
    parser = argparse.ArgumentParser(description="Measure the exported page.")
    parser.add_argument("names", nargs="*", help=f"{', '.join(SIZES)}; all unless given")
    parser.add_argument("--count", type=int, default=5, help="paintings of each, of which the median counts")
    parser.add_argument("--runtime", type=Path, help="file of ONNX Runtime Web, as of impasto export")
    args = parse(parser)
    with TemporaryDirectory() as folder, sync_playwright() as playwright:
        write_page("palette", Path(folder) / "page", runtime=args.runtime)
        sandbox = [] if os.name != "posix" or os.geteuid() else ["--no-sandbox"]
        program = next(filter(None, map(shutil.which, CHROMIUM)), None)
        browser = playwright.chromium.launch(executable_path=program, args=["--disable-gpu", *sandbox])
        about = {"chromium": browser.version, "runtime": RUNTIME.name, "style": STYLE}
        measure = partial(painted, browser, Path(folder), args.count)
        record(args.names or SIZES, args.json, lambda name: about | measure(SIZES[name]), load=True)
        browser.close()


def painted(browser: Browser, folder: Path, count: int, size: tuple[int, int]) -> dict[str, Any]:
    """Seconds to paint a photo of a size, of `impasto stylize` and of the page."""
    photo, style = folder / "photo.jpg", load_style(STYLE)
    write_image(photo, noise_photo(size))
    pixels = read_image(photo)
    command = [tool(), "stylize", str(photo), "-o", str(folder / "painting.jpg"), "--style", STYLE]
    runs: dict[str, Callable[[], Any]] = {
        "stylize float32": partial(stylize, pixels, style, precision="float32"),
        "stylize": partial(stylize, pixels, style),
        "impasto stylize": partial(run_command, command),
    }
    with ExitStack() as stack:
        pages = {
            name: opened(browser, stack.enter_context(serving(folder / "page", handler)))
            for name, handler in SERVED.items()
        }
        first = {name: open_photo(page, photo) for name, page in pages.items()}
        seconds = medians(runs | {name: partial(page.evaluate, PAINT) for name, page in pages.items()}, count)
        threads = {name: page.evaluate(THREADS) for name, page in pages.items()}
        for page in pages.values():
            page.context.close()
    found: dict[str, Any] = {"size": [*size]}
    for name, value in seconds.items():
        found[name] = {"seconds": round(value, 3), "times_float32": round(value / seconds["stylize float32"], 2)}
    for name in pages:
        found[name] |= {"first_seconds": round(first[name], 2), "threads": threads[name]}
    return found


@contextmanager
def serving(folder: Path, handler: type[Plain]) -> Iterator[str]:
    """Serve a folder; gives its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def opened(browser: Browser, address: str) -> Page:
    """The page at an address, ready for a photo, which it will paint at its own size."""
    context = browser.new_context(locale="en-GB")
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector("body[data-ready]")
    page.locator("#style").select_option(STYLE)
    page.locator("#side").select_option("0")
    return page


def open_photo(page: Page, photo: Path) -> float:
    """Seconds from the choice of a photo to the page's first painting."""
    start = time.perf_counter()
    page.locator("#file").set_input_files(photo)
    page.locator("#save:enabled, #alerts:not(:empty)").first.wait_for()
    if words := page.locator("#alerts").text_content():
        raise SystemExit(f"the page does not paint: {words}")
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
