"""Ranks: the same function run by several processes that add their gradients, over gloo on CPUs and NCCL on GPUs.

`Ranks(world)` keeps its processes between calls, so that a build of many stages starts them once. The messages are
torch.distributed's; this file only starts and ends its processes, one to a GPU where there are GPUs.
"""

import os
import signal
import tempfile
import traceback
from collections.abc import Callable, Mapping
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import torch
import torch.distributed as dist

from kwen.errors import UserError
from kwen.progress import Progress, silent

PATIENCE_SECONDS = 3.0
RankFunction = Callable[..., Any]
"""Called as function(group, progress=..., **arguments) on every rank; it must be importable, its arguments plain data."""


class Group:
    """One rank's view of all ranks."""

    def __init__(self, rank: int = 0, world: int = 1) -> None:
        self.rank, self.world = rank, world
        self.device = torch.device("cuda", rank) if torch.cuda.is_available() else torch.device("cpu")

    def add(self, tensor: torch.Tensor) -> torch.Tensor:
        """Sum `tensor` over all ranks, in place."""
        if self.world > 1:
            dist.all_reduce(tensor)
        return tensor

    def add_gradients(self, parameters: list[torch.nn.Parameter], dtype: torch.dtype = torch.float32) -> None:
        """Sum every parameter's gradient over all ranks as one flat message of `dtype`."""
        if self.world == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([gradient.reshape(-1).to(dtype) for gradient in gradients])
        dist.all_reduce(flat)
        for part, gradient in zip(flat.split([gradient.numel() for gradient in gradients]), gradients, strict=True):
            gradient.copy_(part.view_as(gradient))

    def share(self, tensors: list[torch.Tensor], owner: int) -> None:
        """Give every rank the `owner`'s values of `tensors`, in place, as one flat message."""
        if self.world == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.broadcast(flat, owner)
        if self.rank != owner:
            for part, tensor in zip(flat.split([tensor.numel() for tensor in tensors]), tensors, strict=True):
                tensor.copy_(part.view_as(tensor))

    def barrier(self) -> None:
        """Wait until every rank is here."""
        if self.world > 1:
            dist.barrier()


class Ranks:
    """`world` processes on this machine; this one is rank 0, the others are started at the first `run`."""

    def __init__(self, world: int = 1) -> None:
        self.world = world
        self._workers: list[tuple[Any, Connection]] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def start(self) -> None:
        """Start the other processes without waiting for them: they import torch while this one does other work."""
        if self._workers or self.world == 1:
            return
        self._folder = tempfile.TemporaryDirectory(prefix="kwen-ranks-")
        context = get_context("spawn")
        for rank in range(1, self.world):
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(rank, self.world, self._folder.name, there), daemon=True)
            process.start()
            there.close()
            self._workers.append((process, here))

    def run(self, function: RankFunction, arguments: Mapping[str, Any], progress: Progress = silent) -> Any:
        """function(group, progress=..., **arguments) on every rank; rank 0 alone tells `progress`; returns rank 0's result.

        Raises what rank 0 raised, or RuntimeError with the traceback of another rank.
        """
        if self.world == 1:
            return function(Group(), progress=progress, **arguments)
        self.start()
        for _, connection in self._workers:
            connection.send((function, dict(arguments)))
        assert self._folder is not None
        _join(0, self.world, self._folder.name)
        threads = torch.get_num_threads()
        torch.set_num_threads(max(1, threads // self.world))
        try:
            result = function(Group(0, self.world), progress=progress, **arguments)
            failure = self._failure(wait=True)
        except BaseException as error:
            failure = self._failure(wait=False)
            self.close()
            # Another rank left, and this one's next collective found nobody there; a mistake that all ranks saw is told as it is.
            if failure and not isinstance(error, UserError):
                raise RuntimeError(failure) from error
            raise
        finally:
            torch.set_num_threads(threads)
        if failure:
            self.close()
            raise RuntimeError(failure)
        return result

    def _failure(self, wait: bool) -> str:
        """What went wrong on the other ranks, as far as they have told, or "" if nothing did."""
        for rank, (_, connection) in enumerate(self._workers, 1):
            if wait or connection.poll(PATIENCE_SECONDS):
                try:
                    failure = connection.recv()
                except EOFError:
                    failure = "its process ended"
                if failure:
                    return f"rank {rank} failed:\n{failure}"
        return ""

    def close(self) -> None:
        """End the other processes."""
        for _, connection in self._workers:
            connection.close()  # a worker that waits for work sees the end and leaves
        for process, _ in self._workers:
            process.join(PATIENCE_SECONDS)
            if process.is_alive():  # it is inside a collective that will never complete
                process.terminate()
                process.join()
        self._workers = []
        if dist.is_initialized() and self._folder is not None:
            dist.destroy_process_group()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def __enter__(self) -> "Ranks":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _join(rank: int, world: int, folder: str) -> None:
    if not dist.is_initialized():
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # ranks of one machine meet on loopback, whatever its name resolves to
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world)


def _serve(rank: int, world: int, folder: str, connection: Connection) -> None:
    """A worker's life: run what rank 0 sends, until rank 0 is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; rank 0 decides for all
    threads = max(1, torch.get_num_threads() // world)
    torch.set_num_threads(threads)
    while True:
        try:
            function, arguments = connection.recv()
        except (EOFError, OSError):
            break
        failure = ""
        try:
            _join(rank, world, folder)
            function(Group(rank, world), progress=silent, **arguments)
        except BaseException:
            failure = traceback.format_exc()
        try:
            connection.send(failure)
        except (BrokenPipeError, OSError):
            break
        if failure:
            break
    if dist.is_initialized():
        dist.destroy_process_group()
