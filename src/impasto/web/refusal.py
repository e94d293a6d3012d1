"""What the server says no with: a status, a word that a program can go by, and a sentence."""

from collections.abc import Collection, Iterable
from typing import Any

from starlette.responses import JSONResponse


class Refusal(Exception):  # noqa: N818 - it is an answer, not a failure of ours
    """A request that is answered with an error."""

    def __init__(self, status: int, code: str, message: str, *, retry_s: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_s = retry_s

    def response(self) -> JSONResponse:
        """As an answer."""
        headers = {} if self.retry_s is None else {"Retry-After": str(max(1, round(self.retry_s)))}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse(self.body(), self.status, headers)

    def body(self) -> dict[str, Any]:
        """Its JSON."""
        return {"error": {"code": self.code, "message": str(self)}}


def too_large(what: str, limit: str) -> Refusal:
    """Refusal of what is over a limit."""
    return Refusal(413, "too_large", f"{what} is larger than {limit}")


def check_known(names: Iterable[str], allowed: Collection[str], what: str) -> None:
    """Raise a Refusal for a name that is none of a field, or of a file, that a request may have."""
    for name in names:
        if name not in allowed:
            raise Refusal(422, "unknown_field", f"{name[:40]!r} is no {what}; they are {', '.join(allowed)}")


def check_sent(texts: Iterable[str], files: Iterable[str], fields: Collection[str], roles: Collection[str]) -> None:
    """Raise a Refusal for the name of a file, one of the `roles`, that came with a text; or a field's with a file."""
    for name in texts:
        if name in roles:
            raise wrong(name, f"came as a text; send it as a file, as curl -F {name}=@FILE does")
    for name in files:
        if name in fields:
            raise wrong(name, f"came as a file; send it as a text, as curl -F {name}=VALUE does")


def wrong(name: str, message: str) -> Refusal:
    """Refusal of a field's value."""
    return Refusal(422, "wrong_value", f"{name} {message}")
