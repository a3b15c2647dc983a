"""How a server behaves: who may reach it, and how much of anything it takes."""

import ipaddress
from dataclasses import dataclass

from kwen.errors import UserError


@dataclass(frozen=True)
class Settings:
    """Checked when made; raises UserError for a server that anybody could use unasked.

    api_keys: any of these opens it; none: no key is asked for. allowed_hosts: further names that the Host header may carry on
    a loopback address, for a proxy in front. cors_origins: pages of other origins that may call it ("*": any); none: CORS is
    off. unsafe_bind: listen on other than loopback without a key all the same.
    slots: requests that run together, a model; max_waiting: requests that wait, a model. max_body_bytes: of a request.
    body_seconds: for a body to arrive; request_seconds: for an answer; stall_seconds: for a client to take the next piece of a
    stream. max_backlog: pieces that a client may lag behind, an answer, before its request is cancelled. drain_seconds: running
    requests may take so long after SIGTERM.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    api_keys: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    unsafe_bind: bool = False
    slots: int = 64
    max_waiting: int = 256
    max_body_bytes: int = 16 << 20
    body_seconds: float = 30.0
    request_seconds: float = 600.0
    stall_seconds: float = 60.0
    max_backlog: int = 4096
    drain_seconds: float = 30.0

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise UserError(f"--port {self.port}: a port lies between 0 and 65535")
        if not all(key and key.isascii() and key.isprintable() for key in self.api_keys):
            raise UserError("--api-key: a key is one or more printable ASCII characters")
        for name in ("slots", "max_waiting", "max_body_bytes", "request_seconds", "body_seconds", "stall_seconds", "max_backlog"):
            if getattr(self, name) <= 0:
                raise UserError(f"{name.replace('_', ' ')}: must be above 0, not {getattr(self, name)}")
        if self.drain_seconds < 0:
            raise UserError(f"drain seconds: must be at least 0, not {self.drain_seconds}")
        if not self.loopback and not self.api_keys and not self.unsafe_bind:
            raise UserError(
                f"--host {self.host}: others could use the server without a key; give --api-key KEY, or --unsafe-bind if a "
                "network of your own protects it"
            )

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether `host`, a name or an address, is this machine alone."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
