"""How a store is served over HTTP: where, to whom, and how much one request may take."""

from dataclasses import dataclass
from typing import Literal

from sim_transforms.settings.checks import above_zero, at_least


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """Attributes:
    host, port: that are listened at; port 0 takes any that is free.
    api_keys_file: text file of one key a line; requests then carry one of them as `X-API-Key`. Null: nobody is asked.
    cors_origins: origins whose pages may ask, as `https://shop.example`; `*` for all.
    max_upload_mib: of a body; larger ones are refused before they are read.
    max_batch: queries of one request.
    max_k: neighbours of one query.
    requests_a_second: of one client (its key, or else its address), in the mean; bursts of twice as many pass. Null for
        no limit.
    threads: that search, or auto: one a core.
    waiting: requests that may wait for a thread; more are refused at once, and told to come again.
    connections: that are open at once.
    timeout_seconds: in which a request must be sent, and in which it must be answered.
    poll_seconds: between looks at LATEST.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    api_keys_file: str | None = None
    cors_origins: tuple[str, ...] = ()
    max_upload_mib: int = 20
    max_batch: int = 256
    max_k: int = 1000
    requests_a_second: float | None = None
    threads: int | Literal["auto"] = "auto"
    waiting: int = 256
    connections: int = 1000
    timeout_seconds: float = 30.0
    poll_seconds: float = 5.0

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise ValueError("port: from 0 to 65535 is expected")
        for name in ("max_upload_mib", "max_batch", "waiting", "connections"):
            at_least(name, getattr(self, name), 1)
        at_least("max_k", self.max_k, 10)
        if self.threads != "auto":
            at_least("threads", self.threads, 1)
        for name in ("timeout_seconds", "poll_seconds"):
            above_zero(name, getattr(self, name))
        if self.requests_a_second is not None:
            above_zero("requests_a_second", self.requests_a_second)
