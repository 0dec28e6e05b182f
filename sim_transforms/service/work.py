"""Threads that search, and no more requests than they can answer in time."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import ParamSpec, TypeVar

from sim_transforms.service.problems import Refused

T = TypeVar("T")
P = ParamSpec("P")


class Workers:
    """A bounded pool.

    Args:
        threads: that work.
        waiting: requests that may wait for one; more are refused.
        seconds: in which an answer is made, waiting included.
    """

    def __init__(self, threads: int, waiting: int, seconds: float) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="ruiji-search")
        self._most, self._seconds, self._there = threads + waiting, seconds, 0

    @property
    def there(self) -> int:
        """Requests that are worked on or wait."""
        return self._there

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Calls a function in a thread.

        Raises:
            Refused: too many wait, or it took too long; its thread then ends what it does.
        """
        if self._there >= self._most:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, f"{self._there} requests wait already", {"Retry-After": "1"})
        self._there += 1
        future = asyncio.get_running_loop().run_in_executor(self._pool, lambda: function(*args, **kwargs))
        future.add_done_callback(self._done)
        finished, _ = await asyncio.wait([future], timeout=self._seconds)
        if not finished:
            # One that still waits is never begun.
            future.cancel()
            raise Refused(HTTPStatus.GATEWAY_TIMEOUT, f"no answer within {self._seconds:g} s")
        return future.result()

    def close(self) -> None:
        """Waits for what is being done, and drops what waits."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _done(self, future: "asyncio.Future[T]") -> None:
        self._there -= 1
        if not future.cancelled():
            # Seen, so that nobody is told of an error that came too late.
            future.exception()
