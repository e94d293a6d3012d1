"""Whose turn it is: requests that are worked on at the same time are few, those that wait are bounded."""

import asyncio
import contextlib
import heapq
import itertools
import time
from collections.abc import AsyncIterator

from impasto.web.refusal import Refusal


class Turns:
    """A queue in which a large picture lets small ones that come soon after it go before."""

    def __init__(self, at_once: int, waiting: int) -> None:
        self.at_once = at_once
        self.longest = waiting
        self.active = 0
        self.waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self.numbers = itertools.count()
        self.mean_s = 0.3
        """Moving average of the time that a turn takes."""

    @contextlib.asynccontextmanager
    async def turn(self, patience_s: float = 0.0) -> AsyncIterator[None]:
        """Wait for a turn; requests that come within `patience_s` seconds may go before, if they have less.

        Raises:
            Refusal: Too many wait already.

        """
        if len(self.waiting) >= self.longest:
            wait = self.mean_s * len(self.waiting) / self.at_once
            raise Refusal(429, "busy", "too many pictures wait to be painted; try again soon", retry_s=wait)
        if self.active >= self.at_once:
            await self._wait(patience_s)
        else:
            self.active += 1
        start = time.monotonic()
        try:
            yield
        finally:
            self.mean_s += 0.1 * (time.monotonic() - start - self.mean_s)
            self._next()

    async def _wait(self, patience_s: float) -> None:
        """Wait until a turn that ends is handed over."""
        place = asyncio.get_running_loop().create_future()
        entry = (time.monotonic() + patience_s, next(self.numbers), place)
        heapq.heappush(self.waiting, entry)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._next()  # it was handed over and is not wanted any more
            else:
                self.waiting.remove(entry)
                heapq.heapify(self.waiting)
            raise

    def _next(self) -> None:
        """Hand a turn that has ended to the first who waits."""
        while self.waiting:
            place = heapq.heappop(self.waiting)[2]
            if not place.done():
                place.set_result(None)
                return
        self.active -= 1
