"""What all commands hang on: the application, and the types of options that several have."""

import contextlib
import inspect
import re
from collections.abc import Iterator
from typing import Annotated

from cyclopts import App, Parameter

from impasto.doctor import versions
from impasto.errors import MissingExtraError


def shown(default: object) -> str | None:
    """A default as one would type it; what is off or empty needs no word."""
    if default is None or default is False or default in ("", ()) or default == {}:
        return None
    if isinstance(default, tuple):
        return " ".join(str(shown(each)) for each in default)
    if default is True:
        return "yes"
    return f"{default:g}" if isinstance(default, float) else str(default)


app = App(
    name="impasto",
    help="Turn photographs into paintings.",
    version=versions,
    help_format="plaintext",
    default_parameter=Parameter(consume_multiple=True, negative_iterable=(), show_default=shown),
    print_error=False,
    exit_on_error=False,
    help_on_error=False,
    suppress_keyboard_interrupt=False,
    result_action="return_value",
)
app["--help"].help = "Tell this and exit."
app["--version"].help = "Tell the versions of Impasto and of the engines that do the work."
Flag = Annotated[bool, Parameter(negative="")]


def reflow(commands: App) -> None:
    """Make each paragraph of the commands' help one line, which a terminal breaks by its own width."""
    for command in (commands[name] for name in commands if not name.startswith("-")):
        function = command.default_command
        if function is None:
            reflow(command)
        elif function.__doc__:
            function.__doc__ = unbroken(inspect.cleandoc(function.__doc__))


def unbroken(text: str) -> str:
    """A docstring with each paragraph, and what is said of each parameter, on one line."""
    told, heading, parameters = text.partition("\nParameters\n----------\n")
    lines: list[str] = []
    for line in parameters.splitlines():
        if lines and line.startswith(" ") and lines[-1].startswith(" "):
            lines[-1] += f" {line.strip()}"
        else:
            lines.append(line)
    return re.sub(r"(?<=\S)\n(?=\S)", " ", told) + heading + "\n".join(lines)


@contextlib.contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Turn a missing package into one line that names the extra to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"this needs {error.name}: pip install 'impasto[{extra}]'") from error
