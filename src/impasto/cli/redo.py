"""``impasto redo``."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

import impasto
from impasto.cli.app import app, needs_extra
from impasto.cli.console import follow, printable, tell
from impasto.cli.optimize import lines, tell_plan
from impasto.cli.outputs import check_picture_target

if TYPE_CHECKING:
    from impasto.images import Picture
    from impasto.styles import Style
    from impasto.stylize import Region


@app.command(usage="Usage: impasto redo PICTURE -o OUT [OPTIONS]")
def redo(
    picture: Path,
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    files: tuple[Path, ...] = (),
    quality: int | None = None,
    resume: bool = True,
) -> int:
    """Make a picture again by the recipe in its file.

    Parameters
    ----------
    picture
        Picture that impasto stylize, optimize or upscale made.
    output
        Picture to write.
    files
        Folders where what the recipe names is (photo, paintings, styles), beside the picture's own folder and this one.
    quality
        Of JPEG, WebP or AVIF, 1 to 100.
    resume
        Continue from the state that an interrupted run left beside the output; otherwise start afresh.

    """
    from impasto.images import check_quality, write_image
    from impasto.paintings import engines_folder
    from impasto.recipes import find_files, read_recipe, with_recipe
    from impasto.sources import is_clip
    from impasto.styles import zoo
    from impasto.upscalers import upscalers_folder

    if is_clip(str(picture)):
        raise ValueError(f"{picture} is a video, and videos hold no recipe; paint it again by the command that made it")
    check_picture_target("--output", output, picture)
    check_quality(quality)
    recipe = read_recipe(picture)
    found = find_files(recipe, [*files, picture.parent, Path(), zoo(), engines_folder(), upscalers_folder()])
    check_picture_target("--output", output, *found.values())
    if (made := recipe.get("impasto")) != impasto.__version__:
        tell(f"made by version {made}, this is {impasto.__version__}: the picture may differ")
    if recipe["engine"] != "optimize":
        if recipe["engine"] == "stylize":
            painted = stylize_again(recipe["settings"], found, output)
        else:
            painted = upscale_again(recipe["settings"], found, output)
        write_image(output, replace(painted, exif=with_recipe(painted.exif, recipe)), quality=quality)
        print(printable(str(output)))
        return 0
    with needs_extra("train"):
        from impasto.memory import keep_memory
        from impasto.optimize import changed_networks, config_of, optimize
    keep_memory()
    if quality is not None:
        raise ValueError("quality is for pictures that impasto stylize or upscale made")
    config = config_of(recipe, found, output, resume=resume)
    if changed := changed_networks(recipe, config):
        tell(f"made with other weights of {', '.join(changed)}: the picture may differ")
    return follow(optimize(config, told=tell_plan), lines(), output, config.state)


def stylize_again(settings: Mapping[str, Any], files: Mapping[str, Path], output: Path) -> "Picture":
    """Picture that ``impasto stylize`` made with these settings; raises ValueError where they are none."""
    from impasto.cli.choice import found
    from impasto.cli.stylize import read_source
    from impasto.images import DEEP_SUFFIXES, read_mask

    rest = dict(settings)
    try:
        photo, mask = files[rest.pop("photo")], rest.pop("mask")
        style: Style | list[Region]
        if "regions" in rest:
            regions = [dict(region) for region in rest.pop("regions")]
            style = [(found(region, files), read_mask(files[region["mask"]])) for region in regions]
        else:
            style = found(rest, files)
        scale, icc = rest.pop("upscale", None), rest.pop("icc", "srgb")
        options = rest | {"mask": read_mask(files[mask]) if mask is not None else None}
        deep = output.suffix.lower() in DEEP_SUFFIXES
        picture = read_source(photo, deep=deep, icc=icc, target=None if scale else output)
        painted = impasto.stylize(picture, style, **options)
        if not scale:
            return painted
        return impasto.upscale(painted, scale, device=options["device"], precision=options["precision"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the recipe is not one of this program's ({error})") from error


def upscale_again(settings: Mapping[str, Any], files: Mapping[str, Path], output: Path) -> "Picture":
    """Picture that ``impasto upscale`` made with these settings; raises ValueError where they are none."""
    from impasto.images import DEEP_SUFFIXES, read_picture

    rest = dict(settings)
    try:
        photo, names = files[rest.pop("photo")], rest.pop("upscalers")
        one = files[names[0]] if len(names) == 1 else None  # several are the built-in ones
        picture = read_picture(photo, deep=output.suffix.lower() in DEEP_SUFFIXES)
        return impasto.upscale(picture, rest.pop("scale"), upscaler=one, **rest)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the recipe is not one of this program's ({error})") from error
