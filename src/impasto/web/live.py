"""A webcam, painted as it comes: frames through a WebSocket, one on its way at a time."""

import asyncio
import base64
import contextlib
from collections.abc import Callable

from fastapi import WebSocket, WebSocketDisconnect

from impasto.web.options import PAINTING, Options, Own, parse, parse_json
from impasto.web.painter import Painter
from impasto.web.refusal import Refusal, wrong
from impasto.web.settings import ServeConfig

FRAME_BYTES = 2 << 20
IDLE_S = 30.0
"""Without a message, after which a connection is closed for others."""
LARGEST = 960
"""Long side in pixels that a frame is painted at, at most."""


class Live:
    """Connections of webcams."""

    def __init__(self, settings: ServeConfig, painter: Painter, styles_of: Callable[[str], Own]) -> None:
        self.settings = settings
        self.painter = painter
        self.styles_of = styles_of
        self.count = 0

    async def serve(self, socket: WebSocket) -> None:
        """Serve one connection: settings come as JSON, frames as pictures; each frame's painting is sent back."""
        await socket.accept()
        with contextlib.suppress(WebSocketDisconnect):
            if self.count >= self.settings.live:
                await socket.send_json(Refusal(429, "busy", "too many webcams are painted; try again later").body())
                await socket.close(1013)
                return
            self.count += 1
            try:
                await self._loop(socket)
            finally:
                self.count -= 1

    async def _loop(self, socket: WebSocket) -> None:
        """Answer every message: settings with themselves as understood, frames with paintings, mistakes in words."""
        options: Options | None = None
        painting: bytes | None = None
        while True:
            try:
                message = await asyncio.wait_for(socket.receive(), IDLE_S)
            except TimeoutError:
                await socket.close(1001)
                return
            if message["type"] == "websocket.disconnect":
                return
            try:
                if (text := message.get("text")) is not None:
                    options, painting = self._options(text, socket.state.owner)
                    await socket.send_json({"style": dict(options.weights)})
                else:
                    await socket.send_bytes(await self._frame(message["bytes"], options, painting))
            except Refusal as refusal:
                await socket.send_json(refusal.body())

    def _options(self, text: str, owner: str) -> tuple[Options, bytes | None]:
        """Settings from a message, and the painting in it, if there is one."""
        fields = parse_json(text)
        painting = painting_of(fields.pop(PAINTING, ""))
        fields["size"] = str(min(LARGEST, int(fields["size"]))) if fields.get("size", "").isdecimal() else str(LARGEST)
        return parse(fields, self.styles_of(owner), painting=painting is not None), painting

    async def _frame(self, data: bytes, options: Options | None, painting: bytes | None) -> bytes:
        """A frame's painting."""
        if options is None:
            raise Refusal(422, "wrong_value", 'settings come before the first frame, as {"style": "candy"}')
        return (await self.painter.paint(data, options, painting=painting)).data


def painting_of(text: str) -> bytes | None:
    """A picture in base64, if there is one."""
    try:
        return base64.b64decode(text, validate=True) or None
    except ValueError as error:
        raise wrong(PAINTING, "is no picture in base64") from error
