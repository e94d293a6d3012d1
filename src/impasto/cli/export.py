"""``impasto export``: a style for elsewhere."""

from pathlib import Path

from impasto.choices import Engine
from impasto.cli.app import app
from impasto.cli.console import download_bar, printable


@app.command(usage="Usage: impasto export STYLE --web FOLDER [OPTIONS]")
def export(style: str, *, web: Path, runtime: Path | None = None, engine: Engine | None = None) -> int:
    """Write a static page that paints photographs in a style, in the browser, without a server of ours.

    Parameters
    ----------
    style
        Name of a built-in style, palette for all of them, a style file, a painting, or a blend.
    web
        Folder to write: a new one, an empty one, or one of an earlier page. Any web server can serve it.
    runtime
        File of ONNX Runtime Web, onnxruntime-web-1.30.0.tgz, where there is no network; fetched once (33 MB) and kept
        unless given.
    engine
        What paints after a painting: hourglass, adain or wct; the best that there is unless given.

    """
    from impasto.pages import write_page

    names = write_page(style, web, engine=engine, runtime=runtime, progress=download_bar("ONNX Runtime Web"))
    print(printable(f"{web}  {', '.join(names)}; to look at it: python -m http.server -d {web}"))
    return 0
