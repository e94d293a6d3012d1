"""What is wrong with a call, in one line that says where the help is."""

from collections.abc import Sequence
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Final

from cyclopts import CoercionError, CycloptsError, MissingArgumentError, UnknownOptionError, UnusedCliTokensError

from impasto.cli.app import app
from impasto.memory import Gigabytes

WANTED: Final = {
    Gigabytes: "an amount as 4GB or 600MB",
    int: "a whole number",
    float: "a number",
    bool: "left without a value",
}
"""What a value of a type is."""


def told(error: Exception, tokens: Sequence[str]) -> str:
    """One line on a mistake in the call, and the command whose help tells more."""
    words = " ".join((dashed(error, tokens) or in_words(error)).split()).rstrip(".")
    return f"{words} (see {' '.join(['impasto', *commands(tokens)])} --help)"


def check_empty(tokens: Sequence[str]) -> None:
    """Raise a ValueError for an empty argument: a variable of the shell that is not set would be this folder."""
    for before, token in pairwise(["impasto", *tokens]):
        if not token:
            raise ValueError(f"what stands after {before} is empty; give a value, or leave it out")
    for token in takewhile("--".__ne__, tokens):
        if token.startswith("--") and token.partition("=")[1:] == ("=", ""):
            raise ValueError(f"{token} has an empty value; give one, or leave it out")


def commands(tokens: Sequence[str]) -> list[str]:
    """The words of a call that name its command."""
    found, here = list[str](), app
    for token in tokens:
        if token.startswith("-") or token not in {*here}:
            break
        here = here[token]
        found.append(token)
    return found


def in_words(error: Exception) -> str:
    """A mistake in words; cyclopts' own where those are plain enough."""
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        return f"there is no place for {' '.join(error.unused_tokens)}"
    if isinstance(error, MissingArgumentError) and error.argument:
        given = [*(token.keyword for token in error.argument.tokens), error.keyword]
        option = next(filter(None, reversed(given)), None)
        return f"{option} needs a value" if option else f"{name_of(error)} is missing"
    if isinstance(error, CoercionError) and error.token and error.argument and not error.argument.get_choices():
        kinds = {error.target_type, *getattr(error.target_type, "__args__", ())}
        wanted = next((words for kind, words in WANTED.items() if kind in kinds), None)
        if wanted:
            return f"{error.token.keyword or name_of(error)} is {error.token.value!r}; it must be {wanted}"
    return str(error)


def dashed(error: Exception, tokens: Sequence[str]) -> str | None:
    """What is wrong, where the name of a file begins as an option does."""
    from impasto.sources import is_known

    if isinstance(error, UnknownOptionError):
        text = error.token.value
    elif isinstance(error, MissingArgumentError):
        text = next((after for before, after in pairwise(tokens) if before == error.keyword), "")
    else:
        return None
    if not (text.startswith("-") and (Path(text).exists() or is_known(text) or text.lower().endswith(".onnx"))):
        return None
    return f"{text} begins with a dash, as options do; write ./{text}"


def name_of(error: CycloptsError) -> str:
    """What the help calls an argument: an option, or a place in capitals."""
    argument = error.argument
    if argument is None:
        return "an argument"
    return argument.name if argument.index is None else argument.name.lstrip("-").upper()
