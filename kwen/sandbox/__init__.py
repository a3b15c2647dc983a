"""Running untrusted Python without a network, without the host's files, and within limits."""

from typing import TYPE_CHECKING, Any

from kwen.sandbox.jail import Result, describe
from kwen.sandbox.program import run, run_many

if TYPE_CHECKING:
    from kwen.sandbox.session import Outcome, Session

__all__ = ["Outcome", "Result", "Session", "describe", "run", "run_many"]


def __getattr__(name: str) -> Any:
    """Sessions are loaded on first use: programs do without them."""
    if name in ("Outcome", "Session"):
        from kwen.sandbox import session

        return getattr(session, name)
    raise AttributeError(f"module 'kwen.sandbox' has no attribute {name!r}")
