"""What ``--style`` says: a style, or several with masks; and how a recipe tells of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from impasto.styles import Style
    from impasto.stylize import Region


@dataclass(frozen=True)
class Choice:
    """Styles, and a mask for each where there are several."""

    styles: Sequence["Style"]
    masks: Sequence[Path]
    name: str
    """What outputs are called after."""

    @classmethod
    def parse(cls, text: str, engine: str | None = None) -> "Choice":
        """From what the command line has; raises a ValueError where some styles have a mask and others none."""
        from impasto.styles import is_file, load_style, paintings_in, split_blend
        from impasto.texts import parts_of

        parts = [parts_of(part, is_file) for part in split_blend(text)]
        if is_file(text) or all(len(part) == 1 for part in parts):
            style = load_style(text, engine=engine)
            return cls([style], [], Path(text).stem if is_file(text) else style.name)
        if wrong := next((part for part in parts if len(part) != 2 or not all(part)), None):
            told = "each of several styles with masks needs one, as in a.jpg@left.png,b.jpg@right.png"
            raise ValueError(f"style has {'@'.join(wrong)!r}; {told}")
        engines = [engine if paintings_in(name) else None for name, _ in parts]
        styles = [load_style(name, engine=own) for (name, _), own in zip(parts, engines, strict=True)]
        return cls(styles, [Path(mask) for _, mask in parts], "-".join(style.name for style in styles))

    @property
    def told(self) -> str:
        """Names of the styles."""
        return "-".join(style.name for style in self.styles)

    @property
    def files(self) -> list[Path]:
        """All that is read."""
        return [*(file for style in self.styles for file in files_of(style)), *self.masks]

    @property
    def paint(self) -> "Style | list[Region]":
        """As `impasto.stylize` takes it."""
        from impasto.images import read_mask

        if not self.masks:
            return self.styles[0]
        return [(style, read_mask(mask)) for style, mask in zip(self.styles, self.masks, strict=True)]

    def recipe(
        self, photo: Path | None, mask: Path | None, settings: Mapping[str, Any], more: Sequence[Path] = ()
    ) -> dict[str, Any]:
        """How a picture is made, by the names of its files; of no photo yet, for `recipes.of_photo`.

        `more` are files that the settings do not name.
        """
        from impasto.recipes import make_recipe

        told: dict[str, Any]
        if self.masks:
            pairs = zip(self.styles, self.masks, strict=True)
            told = {"regions": [{**tell(style), "mask": own.name} for style, own in pairs]}
        else:
            told = tell(self.styles[0])
        named = {**({"photo": photo.name} if photo else {}), **told, "mask": mask.name if mask else None}
        return make_recipe("stylize", {**named, **settings}, [*filter(None, (photo, *self.files, mask)), *more])


def files_of(style: "Style") -> list[Path]:
    """A style's file; or its paintings, and what the engine's are."""
    from impasto.paintings import STATISTICS, engine_file, engines_folder

    if not style.files:
        return [Path(style.source)]
    return [*style.files, engine_file(style.spec.recipe["engine"]), engines_folder() / STATISTICS]


def tell(style: "Style") -> dict[str, Any]:
    """A style as a recipe has it."""
    if not style.files:
        return {"style": Path(style.source).name, "weights": style.weights}
    shares = [style.weights.get(name, 0.0) for name in style.spec.names]
    paintings = {file.name: share for file, share in zip(style.files, shares, strict=True) if share}
    return {"paintings": paintings, "engine": style.spec.recipe["engine"]}


def found(told: dict[str, Any], files: Mapping[str, Path]) -> "Style":
    """Style that a recipe tells of; what tells of it is taken out. Raises KeyError or TypeError where it is none."""
    from impasto.styles import load_file, load_paintings

    if "paintings" in told:
        shares = {files[str(name)]: weight for name, weight in told.pop("paintings").items()}
        return load_paintings(shares, told.pop("engine"))
    style = load_file(files[told.pop("style")])
    return style.choose({str(name): weight for name, weight in told.pop("weights").items()})
