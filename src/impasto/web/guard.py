"""What every request passes first: host, origin, token, size and pace; and the headers of every answer."""

import asyncio
import contextlib
import hashlib
import hmac
import ipaddress
import secrets
import socket
import time
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from impasto.web.metrics import Metrics
from impasto.web.refusal import Refusal, too_large
from impasto.web.settings import ServeConfig

OWNER, TOKEN = "impasto_owner", "impasto_token"
"""Cookies: whose results are whose, and that the token was shown."""
OPEN = frozenset({"/health", "/ready"})
"""Paths that need no token."""
READING = frozenset({"GET", "HEAD", "OPTIONS"})
LASTING = ("/events", "/result")
"""Ends of the paths whose answers last: as long as a job, or as the client takes to fetch a large file."""
SLOWEST = 500_000
"""Bytes a second at which the files of a job may come, at the least."""
HEAD_BYTES = 32 << 10
"""Of a request's address and headers."""
FORM_BYTES = 1 << 20
"""Beside the picture, in the body of a request."""
DRAINED_BYTES, DRAINED_S = 1 << 26, 5.0
"""Of a body that is refused: read all the same, since many clients read the answer only then."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "media-src 'self' blob:; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Guard:
    """Outermost layer of the application."""

    def __init__(self, app: ASGIApp, settings: ServeConfig, metrics: Metrics) -> None:
        self.app = app
        self.settings = settings
        self.metrics = metrics
        self.names = {"localhost", socket.gethostname().lower(), *map(str.lower, settings.hosts)}
        self.held = Held(max(4 * settings.job_bytes, 40 * settings.upload_bytes))
        self.pass_value = hashlib.sha256(b"impasto cookie " + settings.token.encode()).hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "http":
            await self.http(scope, receive, send)
        elif scope["type"] == "websocket":
            try:
                self.admit(scope)
            except Refusal:
                await receive()
                await send({"type": "websocket.close", "code": 1008})
                return
            await self.app(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def http(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Admit a request, watch its body and its time, dress its answer."""
        body = Body(receive, self.limit_of(scope), self.settings.patience, self.held)
        answer = Answer(scope, send, body)
        start = time.monotonic()
        try:
            self.admit(scope)
            if entrance := self.entrance(scope):
                await entrance(scope, receive, answer.send)
                return
            body.check_stated(Headers(scope=scope))
            async with asyncio.timeout(self.seconds_of(scope)):
                await self.app(scope, body.receive, answer.send)
        except Refusal as refusal:
            await answer.refuse(refusal)
        except TimeoutError:
            await answer.refuse(Refusal(504, "timeout", f"it took longer than {self.settings.timeout:g} s"))
        except Exception:  # a fault of ours, which the server's log has
            await answer.refuse(Refusal(500, "failed", "the server has failed at this; its log says more"))
            raise
        finally:
            self.held.count -= body.count
            route = getattr(scope.get("route"), "path", "other")
            self.metrics.requests.labels(scope["method"][:10], route, answer.status).inc()
            if not scope["path"].endswith(LASTING):
                self.metrics.latency.labels(route).observe(time.monotonic() - start)

    def limit_of(self, scope: Scope) -> int:
        """Bytes that the body of a request may have."""
        if scope["path"] == "/v1/jobs":
            return self.settings.job_bytes + FORM_BYTES
        return 3 * self.settings.upload_bytes + FORM_BYTES  # a picture, its mask and a painting

    def seconds_of(self, scope: Scope) -> float | None:
        """That a request may take."""
        if scope["path"].endswith(LASTING):
            return None
        size = Headers(scope=scope).get("content-length", "0") if scope["path"] == "/v1/jobs" else "0"
        return self.settings.timeout + int(size) / SLOWEST

    def admit(self, scope: Scope) -> None:
        """Raise a Refusal for a request from the wrong place, or without the token; find whose it is."""
        headers = Headers(scope=scope)
        if len(scope["query_string"]) + len(scope["path"]) + sum(len(k) + len(v) for k, v in headers.raw) > HEAD_BYTES:
            raise Refusal(431, "too_large", "the request's address or headers are too long")
        host = headers.get("host", "")
        if len(headers.getlist("host")) != 1 or not self.is_host(host):
            raise Refusal(421, "wrong_host", "this server is not known by that name; its owner can add it with --hosts")
        if scope["type"] == "websocket" or scope["method"] not in READING:
            check_origin(headers, host)
        cookies = cookies_of(headers)
        if self.settings.token and scope["path"] not in OPEN and not self.has_token(scope, headers, cookies):
            raise Refusal(401, "no_token", "this server wants its token: open it as /?token=..., or send it as Bearer")
        owner = cookies.get(OWNER, "")
        known = len(owner) == 32 and owner.isalnum() and owner.isascii()
        scope.setdefault("state", {})["owner"] = owner if known else secrets.token_hex(16)
        scope["state"]["is_new"] = not known

    def is_host(self, host: str) -> bool:
        """Whether the server goes by this name; plain addresses cannot be made to lead elsewhere, and all do."""
        try:
            name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
        except ValueError:
            return False
        if name in self.names:
            return True
        with contextlib.suppress(ValueError):
            ipaddress.ip_address(name)
            return True
        return False

    def has_token(self, scope: Scope, headers: Headers, cookies: dict[str, str]) -> bool:
        """Whether a request brings the token: as Bearer, by the cookie, or, for the page, in the address."""
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        shown = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0] if scope["path"] == "/" else ""
        given = ((bearer, self.settings.token), (cookies.get(TOKEN, ""), self.pass_value), (shown, self.settings.token))
        return any(hmac.compare_digest(one.encode(), other.encode()) for one, other in given)

    def entrance(self, scope: Scope) -> Response | None:
        """Answer to the page's address with the token in it: a cookie, and the address without."""
        if not (scope["path"] == "/" and b"token=" in scope["query_string"] and scope["method"] == "GET"):
            return None
        answer = RedirectResponse("/", 303)
        if self.settings.token:
            secure = scope["scheme"] == "https"
            answer.set_cookie(TOKEN, self.pass_value, httponly=True, samesite="strict", secure=secure)
        return answer


def check_origin(headers: Headers, host: str) -> None:
    """Raise a Refusal where a browser says that a request comes from a page that is not ours."""
    origin = headers.get("origin")
    own = origin is None or (origin != "null" and urlsplit(origin).netloc.lower() == host.lower())
    if not own or headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise Refusal(403, "wrong_origin", "this request comes from a page of another site")


def cookies_of(headers: Headers) -> dict[str, str]:
    """Cookies of a request; those that cannot be read are none."""
    try:
        return {name: morsel.value for name, morsel in SimpleCookie(headers.get("cookie", "")[:8192]).items()}
    except CookieError:
        return {}


class Held:
    """Bytes of the bodies of all requests that are being answered."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.count = 0


class Body:
    """The body of a request as it comes, counted and watched by the clock."""

    def __init__(self, receive: Receive, limit: int, patience_s: float, held: Held) -> None:
        self._receive = receive
        self.limit = limit
        self.patience_s = patience_s
        self.held = held
        self.count = 0
        self.ended = False

    def check_stated(self, headers: Headers) -> None:
        """Raise a Refusal for a body that says that it is too large."""
        stated = headers.get("content-length", "0")
        if not stated.isdecimal() or int(stated) > self.limit:
            raise self.too_large()

    def too_large(self) -> Refusal:
        """Refusal of a body over the limit."""
        return too_large("the request", f"{self.limit / 1e6:.0f} MB")

    async def receive(self) -> Message:
        """See ASGI; raises Refusal for a body that is too large or too slow."""
        if self.ended:
            return await self._receive()  # which tells of a client that leaves, whenever that is
        try:
            message = await asyncio.wait_for(self._receive(), self.patience_s)
        except TimeoutError as error:
            self.ended = True
            raise Refusal(408, "too_slow", f"nothing came for {self.patience_s:g} s") from error
        self.note(message)
        if self.count > self.limit:
            raise self.too_large()
        if self.held.count > self.held.limit:
            raise Refusal(429, "busy", "too many uploads come at the same time; try again soon", retry_s=5)
        return message

    def note(self, message: Message) -> None:
        """Count what has come."""
        size = len(message.get("body", b""))
        self.count += size
        self.held.count += size
        self.ended = not message.get("more_body", False)

    async def drain(self) -> None:
        """Read what still comes, for a while."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAINED_S):
                while not self.ended and self.count < self.limit + DRAINED_BYTES:
                    self.note(await self._receive())


class Answer:
    """The answer to a request, with the headers that all have."""

    def __init__(self, scope: Scope, send: Send, body: Body) -> None:
        self._send = send
        self.scope = scope
        self.body = body
        self.status = 0

    async def send(self, message: Message) -> None:
        """See ASGI."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(raw=message.setdefault("headers", []))
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Cache-Control", "no-cache" if self.scope["path"].startswith("/static/") else "no-store")
            if self.status in (408, 413, 429):
                await self.body.drain()
            if self.status in (408, 413):
                headers["Connection"] = "close"
            self.own(headers)
        await self._send(message)

    def own(self, headers: MutableHeaders) -> None:
        """Give a client that has none the cookie by which its results are its own."""
        state, path = self.scope.get("state", {}), self.scope["path"]
        if state.get("is_new") and self.status < 400 and (path == "/" or path.startswith("/v1/jobs")):
            secure = "; Secure" if self.scope["scheme"] == "https" else ""
            headers.append("Set-Cookie", f"{OWNER}={state['owner']}; HttpOnly; Path=/; SameSite=Strict{secure}")

    async def refuse(self, refusal: Refusal) -> None:
        """Answer with a refusal, where nothing has been answered yet."""
        if not self.status:

            async def nothing() -> Message:
                return {"type": "http.disconnect"}

            await refusal.response()(self.scope, nothing, self.send)
