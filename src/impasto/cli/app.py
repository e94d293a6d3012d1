"""What all commands hang on: the application, and the types of options that several have."""

import contextlib
from collections.abc import Iterator
from typing import Annotated

from cyclopts import App, Parameter

from impasto.doctor import versions
from impasto.errors import MissingExtraError

app = App(
    name="impasto",
    help="Turn photographs into paintings.",
    version=versions,
    help_format="plaintext",
    default_parameter=Parameter(consume_multiple=True, negative_iterable=()),
    print_error=False,
    exit_on_error=False,
    help_on_error=False,
    suppress_keyboard_interrupt=False,
    result_action="return_value",
)
Flag = Annotated[bool, Parameter(negative="")]


@contextlib.contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Turn a missing package into one line that names the extra to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"this needs {error.name}: pip install 'impasto[{extra}]'") from error
