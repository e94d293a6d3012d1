"""A webcam, painted as it comes: frames through a WebSocket, one on its way at a time."""

import asyncio
import contextlib
from collections.abc import Callable

from fastapi import WebSocket, WebSocketDisconnect

from impasto.web.options import Options, Own, parse, parse_json
from impasto.web.painter import Painter
from impasto.web.refusal import Refusal
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
        if self.count >= self.settings.live:
            await socket.send_json(Refusal(429, "busy", "too many webcams are painted; try again later").body())
            await socket.close(1013)
            return
        self.count += 1
        try:
            with contextlib.suppress(WebSocketDisconnect):
                await self._loop(socket)
        finally:
            self.count -= 1

    async def _loop(self, socket: WebSocket) -> None:
        """Answer every message: settings with themselves as understood, frames with paintings, mistakes in words."""
        options: Options | None = None
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
                    options = self._options(text, socket.state.owner)
                    await socket.send_json({"style": dict(options.weights)})
                else:
                    await socket.send_bytes(await self._frame(message["bytes"], options))
            except Refusal as refusal:
                await socket.send_json(refusal.body())

    def _options(self, text: str, owner: str) -> Options:
        """Settings from a message."""
        fields = parse_json(text)
        fields["size"] = str(min(LARGEST, int(fields["size"]))) if fields.get("size", "").isdecimal() else str(LARGEST)
        return parse(fields, self.styles_of(owner))

    async def _frame(self, data: bytes, options: Options | None) -> bytes:
        """A frame's painting."""
        if options is None:
            raise Refusal(422, "wrong_value", 'settings come before the first frame, as {"style": "candy"}')
        return (await self.painter.paint(data, options)).data
