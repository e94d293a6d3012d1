"""Draws results/quality.json and results/arbitrary.json as figures of the documents: ``python benchmarks/draw.py``."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

HERE = Path(__file__).parent
PICTURES = HERE.parent / "docs" / "pictures"


def main() -> None:
    """Draw what has been measured."""
    mpl.use("svg")
    mpl.rcParams |= {"svg.hashsalt": "impasto", "font.size": 8, "axes.grid": True, "grid.alpha": 0.3}
    for file, names, key, figure in FIGURES:
        path = HERE / "results" / f"{file}.json"
        results = json.loads(path.read_text("utf-8")) if path.exists() else {}
        if all(name in results for name in names):
            figure(results if key is None else results[names[0]][key])
            plt.savefig(
                PICTURES / f"{PREFIX.get(file, '')}{names[0]}.svg", metadata={"Date": None}, bbox_inches="tight"
            )
            plt.close()


def draw_curves(styles: dict[str, list[dict[str, float]]]) -> None:
    """Each style's way from the photo to full strength, and its stroke sizes."""
    _, grid = plt.subplots(4, -(-len(styles) // 4), figsize=(11, 9), layout="constrained", squeeze=False)
    for axes, (name, points) in zip(grid.flat, styles.items(), strict=False):
        way = [p for p in points if p["stroke"] is None]
        axes.plot([p["content"] for p in way], [p["style"] for p in way], "o-", color="tab:blue", ms=3)
        strokes = [p for p in points if p["stroke"] is not None]
        axes.plot([p["content"] for p in strokes], [p["style"] for p in strokes], "s", color="tab:orange", ms=4)
        for p in strokes:
            axes.annotate(f"{p['stroke']:g}", (p["content"], p["style"]), xytext=(3, 3), textcoords="offset points")
        axes.set(title=name, xlim=(0, None), ylim=(0, None))
    label(grid, "content distance", "style distance")


def draw_objective(styles: dict[str, dict[str, Any]]) -> None:
    """The objective of L-BFGS by iteration, and that of the network, by style and side."""
    sides = sorted({side for by_side in styles.values() for side in by_side if side.isdigit()}, key=int)
    _, grid = plt.subplots(
        len(styles), len(sides), figsize=(3 * len(sides), 2.2 * len(styles)), layout="constrained", squeeze=False
    )
    for row, (name, by_side) in zip(grid, styles.items(), strict=True):
        for axes, side in zip(row, sides, strict=True):
            if (found := by_side.get(side)) is None:  # not measured
                axes.set_axis_off()
                continue
            for (start, values), color in zip(found["lbfgs"].items(), ("tab:blue", "tab:green"), strict=False):
                iterations = [int(i) for i in values]
                axes.plot(iterations, [*values.values()], "o-", color=color, ms=3, label=f"L-BFGS from {start}")
            axes.axhline(found["network"], color="tab:orange", label="network")
            axes.set(title=f"{name}, {side} px", yscale="log")  # noise begins at many times what matters
    grid[0, 0].legend()
    label(grid, "iterations", "objective")


def draw_engines(results: dict[str, Any]) -> None:
    """Each engine's way from the photo to full strength, and that of optimisation."""
    _, axes = plt.subplots(figsize=(5, 4), layout="constrained")
    for name, points in (results["curves"]["curves"] | {"optimisation": results["optimised"]["curve"]}).items():
        axes.plot([p["content"] for p in points], [p["style"] for p in points], "o-", ms=3, label=name)
    axes.set(xlabel="content distance", ylabel="style distance", xlim=(0, None), ylim=(0, None))
    axes.legend()


def label(grid: "Any", x: str, y: str) -> None:
    """Name the axes at the left and the bottom of a grid."""
    for axes in grid[-1]:
        assert isinstance(axes, Axes)
        axes.set_xlabel(x)
    for axes in grid[:, 0]:
        axes.set_ylabel(y)


FIGURES: list[tuple[str, tuple[str, ...], str | None, Callable[[Any], None]]] = [
    ("quality", ("curves",), "styles", draw_curves),
    ("quality", ("objective",), "styles", draw_objective),
    ("arbitrary", ("curves", "optimised"), None, draw_engines),
]
"""File of results, what is drawn of it (the first names the picture), where in it, and how."""
PREFIX = {"arbitrary": "arbitrary-"}
"""Of the pictures' names."""

if __name__ == "__main__":
    main()
