"""Commands that tell and show what there is: ``impasto styles``, ``doctor``, ``palette``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

import impasto
from impasto.choices import Engine
from impasto.cli.app import Flag, app, needs_extra
from impasto.cli.console import print_json, printable
from impasto.cli.outputs import check_picture_target, check_style_suffix, same_file
from impasto.errors import StyleError


@app.command(usage="Usage: impasto styles [FILE|NAME] [OPTIONS]")
def styles(
    file: Path | None = None,
    *,
    sheet: Path | None = None,
    matrix: str | None = None,
    photo: Path | None = None,
    side: int = 320,
    json: Flag = False,
) -> int:
    """List the built-in styles, or those of a file; or draw them.

    Parameters
    ----------
    file
        Style file whose styles to list, or the name of a built-in style, in place of all built-in ones.
    sheet
        Picture to write: a photo in every style, with their names.
    matrix
        Name of a style that the sheet shows in place of all, strength against stroke.
    photo
        Photo of the sheet; one of ours unless given.
    side
        Long side of each picture in the sheet, in pixels.
    json
        Print the list as one JSON array.

    """
    from impasto.styles import find_style

    if matrix is not None and sheet is None:
        raise ValueError("--matrix needs --sheet, the picture to write")
    if photo is not None and sheet is None:
        raise ValueError("--photo needs --sheet, the picture to write")
    entries = impasto.builtin_styles()
    if str(file) in entries:
        entries, file = {str(file): entries[str(file)]}, None
    elif file is not None:
        file = find_style(file)
        entries = styles_of(file)
    if sheet is not None:
        names = list(entries) if matrix is None else [matrix]
        draw_sheet(sheet, file, names, photo, side, as_matrix=matrix is not None)
        print(sheet)
    elif json:
        print_json([{"name": name, **entry} for name, entry in entries.items()])
    else:
        for name, entry in entries.items():
            about = ", ".join(filter(None, (entry["title"], entry["artist"], entry["year"])))
            print(printable(f"{name:16}  {about}".rstrip()))
    return 0


def styles_of(file: Path) -> dict[str, dict[str, Any]]:
    """What a style file says of each of its styles, by name."""
    from dataclasses import asdict

    from impasto.styles import load_file

    return {entry.name: asdict(entry) for entry in load_file(file).spec.entries}


def draw_sheet(
    target: Path, file: Path | None, names: Sequence[str], photo: Path | None, side: int, *, as_matrix: bool
) -> None:
    """Write a photo in every style, or as a matrix of one."""
    from impasto import sheets
    from impasto.images import fit, read_image, write_image
    from impasto.styles import load_file, load_style, zoo

    check_picture_target("--sheet", target, file, photo)
    if side < sheets.SMALLEST:
        raise ValueError(f"side is {side}; it must be at least {sheets.SMALLEST} pixels")
    shown = fit(read_image(photo or zoo() / "sample.jpg"), side)
    loaded = [load_style(name) if file is None else load_file(file).choose({name: 1.0}) for name in names]
    if as_matrix and not loaded[0].spec.rows:
        raise ValueError(
            f"--matrix is {names[0]}; a network of one style has one size of strokes, so it needs a palette's"
        )
    drawn = sheets.matrix(shown, loaded[0]) if as_matrix else sheets.sheet(shown, loaded)
    write_image(target, drawn)


@app.command(name="style", usage="Usage: impasto style PAINTING... -o OUT [OPTIONS]")
def style_file(*paintings: Path, output: Annotated[Path, Parameter(alias="-o")], engine: Engine | None = None) -> int:
    """Make a style file of paintings, at once, which needs the paintings no more.

    Parameters
    ----------
    paintings
        Pictures; of several the file is a palette, with a style for each.
    output
        Style file to write, .onnx.
    engine
        What paints: hourglass, adain or wct; the best that there is unless given.

    """
    from impasto.paintings import write_style

    check_style_suffix(output)
    if any(same_file(output, path) for path in paintings):
        raise ValueError(f"{output} is one of the files that are read; choose another --output")
    print(printable(f"{output} holds {', '.join(write_style(paintings, output, engine).names)}"))
    return 0


@app.command
def doctor() -> int:
    """Tell what this machine and installation can do: device, precision, formats, cache."""
    from impasto.doctor import examine

    for name, text in examine().items():
        print(f"{name:10}  {text}")
    return 0


palette = App(name="palette", help="Work on palettes, files of several styles.")
app.command(palette)


@palette.command(name="merge", usage="Usage: impasto palette merge PALETTE PALETTE... -o OUT")
def palette_merge(*palettes: Path, output: Annotated[Path, Parameter(alias="-o")], replace: Flag = False) -> int:
    """Join palettes that come from one base.

    Parameters
    ----------
    palettes
        Style files, two or more, trained with the same --base, or that base itself: palette is the built-in one.
        Styles of one that was trained with --unfreeze keep weights of their own, half a megabyte a palette.
    output
        Style file to write, .onnx.
    replace
        Of styles of one name take the last, in the place of the first.

    """
    check_style_suffix(output)
    if any(same_file(output, path) for path in palettes):
        raise ValueError(f"{output} is one of the files that are read; choose another --output")
    for source in palettes:
        check_palette(source)
    with needs_extra("train"):
        from impasto.palette import merge
    print(printable(f"{output} holds {', '.join(merge(palettes, output, replace=replace).names)}"))
    return 0


def check_palette(source: Path) -> None:
    """Raise a StyleError for a style file that cannot be joined with others, whatever they are."""
    from impasto.styles import find_style, load_file

    kind = load_file(find_style(source)).spec.architecture
    if kind != "StyleNet":
        told = "only those can be joined, so learn its painting with impasto train --base"
        raise StyleError(f"{source}: no palette that impasto train made ({kind}); {told}")
