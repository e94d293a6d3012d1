"""The command line: a command parses, calls one function of the library, and prints."""

import io
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from cyclopts import CycloptsError
from cyclopts.config import Toml

from impasto.cli import completion, export, mistakes, optimize, redo, serve, styles, stylize, train, upscale, webcam  # noqa: F401 - they register theirs
from impasto.cli.app import app, reflow
from impasto.cli.console import forget_stdout, tell
from impasto.errors import ImpastoError

reflow(app)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit: 0 done, 1 a failure of the world, 2 a mistake in the call, 130 and 143 interrupted."""
    tokens = ["./-" if t == "-" else t for t in (sys.argv[1:] if argv is None else argv)]  # the same path, no option
    stand_in()
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that a terminal cannot show is no failure
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: tell(f"warning: {message}")  # not where in the code
        sys.exit(call(tokens))


def call(tokens: Sequence[str]) -> int:
    """Run a command and return its exit code; what fails is told in one line on standard error."""
    try:
        mistakes.check_empty(tokens)
        app.config = config_file(tokens)
        code = app(tokens) or 0
        sys.stdout.flush()
    except ImpastoError as error:
        return fail(str(error), 1)
    except (CycloptsError, ValueError) as error:
        return fail(mistakes.told(error, tokens), 2)
    except RecursionError:
        return fail("what was given, or a file of settings, is nested too deeply", 2)
    except KeyboardInterrupt:
        return fail("interrupted", 130)
    except MemoryError:
        return fail("out of memory; try --max-side", 1)
    except OSError as error:
        forget_stdout()
        told = f"{error.filename or 'standard output'}: {error.strerror}"
        return 1 if isinstance(error, BrokenPipeError) else fail(told, 1)
    return int(code)


def stand_in() -> None:
    """Open the null device for each standard stream that was closed before the start, which Python then has not."""
    sys.stdin = sys.stdin or open(os.devnull, encoding="utf-8")  # noqa: SIM115, PTH123 - for as long as the process
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123


def fail(message: str, code: int) -> int:
    """Tell of a failure; returns its exit code."""
    tell(message)
    return code


def config_file(tokens: Sequence[str]) -> list[Toml]:
    """Settings of the --config file in the tokens of a training, for cyclopts to put below the flags."""
    if not tokens or tokens[0] not in ("train", "train-upscaler"):
        return []
    for i, token in enumerate(tokens):
        name, equals, value = token.partition("=")
        if name == "--config":
            path = value if equals else tokens[i + 1] if i + 1 < len(tokens) else ""
            if not Path(path).is_file():
                raise ValueError(f"--config is {path!r}; there is no such file")
            file = Toml(path, must_exist=True, search_parents=False, use_commands_as_keys=False)
            if tables := [key for key in file.config if key in {*app}]:  # which cyclopts would pass over
                raise ValueError(f"--config is {path!r}; it has {tables[0]}, which is no setting of training")
            return [file]
    return []
