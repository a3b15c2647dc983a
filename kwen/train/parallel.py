"""Ranks: the same function run by several processes that add their gradients, over gloo on CPUs and NCCL on GPUs.

`Ranks(world)` keeps its processes between calls, so that a build of many stages starts them once. The messages are
torch.distributed's; this file only starts and ends its processes, one to a GPU where there are GPUs.
"""

import json
import os
import signal
import tempfile
import threading
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from kwen.errors import UserError
from kwen.progress import Progress, silent

PATIENCE_SECONDS = 3.0
RankFunction = Callable[..., Any]
"""Called as function(group, progress=..., **arguments) on every rank; it must be importable, its arguments plain data, paths or
frozen configs."""

Item = TypeVar("Item")


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

    def deal(self, items: Sequence[Item]) -> list[Item]:
        """This rank's part of `items`: like cards, one to each rank in turn, so that items of like cost are spread evenly."""
        return list(items[self.rank :: self.world])

    def hand_out(self, items: Sequence[Item], folder: Path) -> Iterator[Item]:
        """`items` in their order, each to the rank that asks for it first, where their costs differ too much to be dealt. All
        ranks call it together; `folder`, which all of them see, holds a file for each item that is taken."""
        (call, *_) = self.gather([uuid.uuid4().hex])
        for number, item in enumerate(items):
            try:
                (folder / f"{call}-{number}.taken").touch(exist_ok=False)
            except FileExistsError:
                continue
            yield item

    def gather(self, values: Sequence[Any]) -> list[Any]:
        """All ranks' values on every rank, one of each rank in turn: where `values` answer a `deal`, in the order of its items.

        The values are plain JSON data and arrive as such, from this rank too: a tuple as a list. Nothing is unpickled.
        """
        message = json.dumps(list(values)).encode()
        if self.world == 1:
            return list(json.loads(message))
        sizes = torch.zeros(self.world, dtype=torch.int64, device=self.device)
        sizes[self.rank] = len(message)
        longest = int(self.add(sizes).max())
        sent = torch.frombuffer(bytearray(message.ljust(longest)), dtype=torch.uint8).to(self.device)
        received = [torch.empty_like(sent) for _ in range(self.world)]
        dist.all_gather(received, sent)
        parts = [json.loads(bytes(part.cpu().numpy())) for part in received]  # JSON may end in spaces
        return [value for turn in range(max(map(len, parts))) for part in parts for value in part[turn : turn + 1]]

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

        Raises what rank 0 raised, a UserError of another rank, or RuntimeError with another rank's traceback.
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
            if failure is not None and not isinstance(error, UserError):
                raise failure from error
            raise
        finally:
            torch.set_num_threads(threads)
        if failure is not None:
            self.close()
            raise failure
        return result

    def _failure(self, wait: bool) -> Exception | None:
        """What went wrong on the other ranks, as far as they have told, or None if nothing did."""
        for rank, (_, connection) in enumerate(self._workers, 1):
            if wait or connection.poll(PATIENCE_SECONDS):
                try:
                    mistake, failure = connection.recv()
                except EOFError:
                    mistake, failure = "", "its process ended"
                if mistake:
                    return UserError(mistake)
                if failure:
                    return RuntimeError(f"rank {rank} failed:\n{failure}")
        return None

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


def _leave_with_rank_0() -> None:
    """End this process as soon as rank 0's has ended, killed or not: what it holds locked must not stop the next run."""
    rank_0 = parent_process()
    assert rank_0 is not None
    rank_0.join()
    os._exit(1)


def _serve(rank: int, world: int, folder: str, connection: Connection) -> None:
    """A worker's life: run what rank 0 sends, until rank 0 is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; rank 0 decides for all
    threading.Thread(target=_leave_with_rank_0, daemon=True).start()
    threads = max(1, torch.get_num_threads() // world)
    torch.set_num_threads(threads)
    while True:
        try:
            function, arguments = connection.recv()
        except (EOFError, OSError):
            break
        mistake = failure = ""  # a user's, in one line; any other, with its traceback
        try:
            _join(rank, world, folder)
            function(Group(rank, world), progress=silent, **arguments)
        except UserError as error:
            mistake = str(error)
        except BaseException:
            failure = traceback.format_exc()
        try:
            connection.send((mistake, failure))
        except (BrokenPipeError, OSError):
            break
        if mistake or failure:
            break
    if dist.is_initialized():
        dist.destroy_process_group()
