"""What texts of settings say: a painting with its weight and masks, names with weights."""

import os.path
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class PaintingText:
    """What ``a.jpg:0.7@photo-mask.png@painting-mask.png`` says, of which all but the file may be left out."""

    source: str
    weight: float = 1.0
    mask: str = ""
    own_mask: str = ""

    @classmethod
    def parse(cls, text: str, is_file: Callable[[str], bool] = os.path.isfile) -> "PaintingText":
        """From the text; raises ValueError for another one. Names of files may have an @ or a colon."""
        first, mask, own_mask, *rest = [*parts_of(text, is_file), "", ""]
        source, weight = weighted(first, is_file)
        if any(rest) or not 0 < weight < float("inf"):
            raise ValueError(
                f"paintings has {text!r}; write a.jpg, a.jpg:0.7 or a.jpg:0.7@photo-mask.png@painting-mask.png"
            )
        return cls(source, weight, mask, own_mask)

    def __str__(self) -> str:
        return f"{self.source}:{self.weight!r}@{self.mask}@{self.own_mask}".rstrip("@")

    @property
    def files(self) -> list[str]:
        """Paths of the painting and its masks."""
        return [path for path in (self.source, self.mask, self.own_mask) if path]

    def named(self, name: Callable[[str], str]) -> "PaintingText":
        """The same with other paths."""
        return replace(
            self,
            source=name(self.source),
            mask=self.mask and name(self.mask),
            own_mask=self.own_mask and name(self.own_mask),
        )


def parts_of(text: str, is_file: Callable[[str], bool]) -> list[str]:
    """Parts of a text between its @, but for those in the names of files that there are."""
    parts = text.split("@")
    for count in range(len(parts), 1, -1):
        first = "@".join(parts[:count])
        if is_file(weighted(first, is_file)[0]):
            return [first, *(parts_of("@".join(parts[count:]), is_file) if parts[count:] else [])]
    return [parts[0], *(parts_of("@".join(parts[1:]), is_file) if parts[1:] else [])]


def weighted(text: str, is_file: Callable[[str], bool]) -> tuple[str, float]:
    """``a.jpg:0.7`` -> ``a.jpg``, 0.7; a file of the whole name goes before."""
    source, colon, number = text.rpartition(":")
    try:
        return (source, float(number)) if colon and not is_file(text) else (text, 1.0)
    except ValueError:
        return text, 1.0


def parse_weighted(items: Sequence[str], what: str) -> dict[str, float]:
    """``("a", "b:0.5")`` -> ``{"a": 1.0, "b": 0.5}``; raises ValueError naming `what`."""
    weights: dict[str, float] = {}
    for item in items:
        name, _, number = item.partition(":")
        try:
            weights[name] = float(number) if number else 1.0
        except ValueError:
            raise ValueError(f"{what} has {item!r}; write a name, or a name and its weight as name:0.5") from None
    if not weights or min(weights.values()) < 0 or not 0 < sum(weights.values()) < float("inf"):
        raise ValueError(f"{what} is {', '.join(items)!r}; it needs weights of at least 0 that are not all 0")
    return weights
