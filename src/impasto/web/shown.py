"""What long work is told, and what it shows of how far it is."""

from pathlib import Path
from typing import Any

Order = dict[str, Any]
Told = dict[str, Any]
"""What a step says: step, progress, loss, seconds_left, and the name of a picture."""


class Shown:
    """Pictures of how far work is: the last, and the one before, which somebody may be about to look at."""

    def __init__(self) -> None:
        self.paths: list[Path] = []

    def take(self, path: Path | None) -> None:
        """Show a new picture, if there is one, and delete those that are no longer shown."""
        if path is None:
            return
        self.paths.append(path)
        while len(self.paths) > 2:
            self.paths.pop(0).unlink(missing_ok=True)

    def name(self, folder: Path) -> str:
        """The last picture's, within a folder."""
        return self.paths[-1].relative_to(folder).as_posix() if self.paths else ""
