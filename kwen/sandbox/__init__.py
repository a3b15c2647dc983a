"""Running untrusted Python without a network, without the host's files, and within limits."""

from kwen.sandbox.jail import Result, describe
from kwen.sandbox.program import run, run_many

__all__ = ["Result", "describe", "run", "run_many"]
