"""The server around the application: it ends in good order, and waits for nobody who never says what he wants."""

import asyncio
import copy
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from impasto.web.app import create_app
from impasto.web.guard import HEAD_BYTES
from impasto.web.live import FRAME_BYTES
from impasto.web.settings import ServeConfig
from impasto.web.workers import Processes

DRAIN_S = 30
"""That what runs is given when the server stops."""
HEAD_S = 15.0
"""In which the headers of a request must have come."""
IDLE_S = 15
"""That a connection may be idle between requests."""


class Protocol(H11Protocol):
    """HTTP, but a connection whose headers do not come in time is closed."""

    _clock: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See asyncio."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        super().data_received(data)
        if self._is_waiting():
            self._watch()
        elif self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _watch(self) -> None:
        """Begin to wait for headers, unless that is so already."""
        if self._clock is None:
            self._clock = self.loop.call_later(HEAD_S, self._lose)

    def _lose(self) -> None:
        """Close the connection, if it is still its headers that are waited for."""
        self._clock = None
        if self._is_waiting() and not self.transport.is_closing():
            self.transport.close()

    def _is_waiting(self) -> bool:
        """Whether headers are to come; not where the connection has become a WebSocket, which another protocol has."""
        is_ours = self.transport.get_protocol() is self
        return is_ours and (self.cycle is None or self.cycle.response_complete)


class Server(uvicorn.Server):
    """A server that ends with exit code 0 when it is told to, and has long answers end first."""

    def __init__(self, config: uvicorn.Config, stop: Callable[[], None], told: Callable[[str], None]) -> None:
        super().__init__(config)
        self.stop = stop
        self.told = told

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, and say where."""
        self.loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            self.told(f"http://{f'[{host}]' if ':' in host else host}:{port}/")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """End, asked by a signal; asked twice, at once."""
        self.force_exit = self.should_exit
        self.should_exit = True
        self.loop.call_soon_threadsafe(self.stop)


def serve(settings: ServeConfig, processes: Processes, told: Callable[[str], None]) -> None:
    """Serve until a signal comes; `told` is told the address when it answers.

    Raises:
        ImpastoError: The folder for the files of jobs cannot be made.
        OSError: The address cannot be listened on.

    """
    app = create_app(settings, processes)
    tasks: set[asyncio.Task[Any]] = set()

    def stop() -> None:
        tasks.add(asyncio.ensure_future(app.state.service.jobs.stop()))

    listening = socket.create_server((settings.host, settings.port), family=family_of(settings.host), backlog=256)
    config = uvicorn.Config(
        app,
        http=Protocol,
        ws="websockets-sansio",
        ws_max_size=FRAME_BYTES,
        access_log=False,
        log_config=logging_of(),
        server_header=False,
        h11_max_incomplete_event_size=HEAD_BYTES,
        timeout_keep_alive=IDLE_S,
        timeout_graceful_shutdown=DRAIN_S,
    )
    with listening:
        Server(config, stop, told).run([listening])


def family_of(host: str) -> socket.AddressFamily:
    """Family of addresses that a host is in."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def logging_of() -> dict[str, Any]:
    """Uvicorn's logging, and that of what parses forms, of failures alone: a broken form is its sender's."""
    config = copy.deepcopy(uvicorn.config.LOGGING_CONFIG)
    config["loggers"]["python_multipart"] = {}
    for logger in config["loggers"].values():
        logger["level"] = "ERROR"
    return config
