"""Minutes of mixed load on `kwen serve`: 64 clients at once, a tenth of the requests left early.

    pip install "kwen[serve]" openai
    python benchmarks/soak.py [MODEL] [--minutes 30] [--clients 64] [--json FILE]

Each client asks again and again, by OpenAI's own library: chats streamed and whole, raw completions with logprobs, required tool
calls, JSON by a schema, responses. Counted are errors that were not asked for, answers that break what was asked (a schema, the
form of a call), greedy answers that differ from the first one given to the same question, and the server's resident memory once
every kind of request has been seen, against its memory at the end. At the end, when the clients have gone, no slot may be taken.
Without MODEL: a random model of SmolLM2's shape divided by eight, whose answers mean nothing.
"""

import argparse
import asyncio
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import openai
import psutil

from kwen.files import write_json

SERVE = "from kwen.cli.main import run; run()"
WARM_UP = 0.2  # of the time: until memory is first measured
SAMPLE_S = 2.0
LEAVING = 0.1
SENTENCE = "the cat sat on a mat and one dog ran after two birds while rain fell over green hills"
WORDS = SENTENCE.split()
SCHEMA = {
    "type": "object",
    "properties": {"animal": {"enum": ["cat", "dog", "bird"]}, "legs": {"type": "integer", "minimum": 0, "maximum": 8}},
    "required": ["animal", "legs"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "describe", "parameters": SCHEMA}}


class Load:
    """What the clients ask, and what came of it."""

    def __init__(self, url: str, model: str, seed: int) -> None:
        self.client = openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0, timeout=300)
        self.model, self.random = model, random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.tokens = 0
        self._answers: dict[str, str] = {}
        self._kinds: list[Callable[[], Awaitable[None]]] = [
            self.streamed, self.streamed, self.whole, self.whole, self.completion, self.call, self.formatted, self.response,
        ]  # fmt: skip

    async def ask_until(self, end: float) -> None:
        """One client's life."""
        while time.monotonic() < end:
            kind = self.random.choice(self._kinds)
            try:
                await kind()
                self.counts[kind.__name__] += 1
            except openai.RateLimitError:
                self.counts["told to come again (429)"] += 1
                await asyncio.sleep(1)
            except Exception as error:
                self.errors[f"{kind.__name__}: {type(error).__name__}: {str(error)[:200]}"] += 1

    def question(self) -> str:
        """One of a few thousand, short and long, some beginning alike."""
        chosen = random.Random(self.random.randrange(3000))
        opening = " ".join(WORDS * 4) if chosen.random() < 0.3 else ""
        return f"{opening} {' '.join(chosen.choices(WORDS, k=chosen.randrange(3, 120)))}".strip()

    def expect(self, question: str, answer: str) -> None:
        """A greedy answer is the same each time."""
        if self._answers.setdefault(question, answer) != answer:
            self.errors["a greedy answer changed"] += 1

    async def streamed(self) -> None:
        question, leaves = self.question(), self.random.random() < LEAVING * len(self._kinds) / 2
        stream = await self.client.chat.completions.create(
            model=self.model, messages=[{"role": "user", "content": question}], max_tokens=48, temperature=0, stream=True,
            stream_options={"include_usage": True},
        )  # fmt: skip
        pieces: list[str] = []
        async for chunk in stream:
            pieces += [choice.delta.content or "" for choice in chunk.choices]
            if leaves and len(pieces) > 5:
                await stream.close()
                self.counts["left early"] += 1
                return
            if chunk.usage is not None:
                self.tokens += chunk.usage.completion_tokens
        self.expect(f"chat {question}", "".join(pieces))

    async def whole(self) -> None:
        question, greedy = self.question(), self.random.random() < 0.5
        answer = await self.client.chat.completions.create(
            model=self.model, messages=[{"role": "user", "content": question}], max_tokens=48, temperature=0 if greedy else 1,
            n=1 if greedy else 2,
        )  # fmt: skip
        self._count(answer.usage)
        if greedy:
            self.expect(f"chat {question}", answer.choices[0].message.content or "")

    async def completion(self) -> None:
        answer = await self.client.completions.create(
            model=self.model, prompt=[self.question(), self.question()], max_tokens=16, temperature=0, echo=True, logprobs=2
        )
        self._count(answer.usage)
        for choice in answer.choices:
            assert choice.logprobs is not None and len(choice.logprobs.tokens or []) == len(choice.logprobs.token_logprobs or [])

    async def call(self) -> None:
        answer = await self.client.chat.completions.create(
            model=self.model, messages=[{"role": "user", "content": self.question()}], tools=[TOOL], tool_choice="required",
            parallel_tool_calls=False, max_tokens=200, temperature=1,
        )  # fmt: skip
        self._count(answer.usage)
        (made,) = answer.choices[0].message.tool_calls or ()
        assert set(json.loads(made.function.arguments)) == {"animal", "legs"}

    async def formatted(self) -> None:
        wanted: Any = {"type": "json_schema", "json_schema": {"name": "animal", "schema": SCHEMA}}
        answer = await self.client.chat.completions.create(
            model=self.model, messages=[{"role": "user", "content": self.question()}], response_format=wanted, max_tokens=200,
            temperature=1,
        )  # fmt: skip
        self._count(answer.usage)
        assert set(json.loads(answer.choices[0].message.content or "")) == {"animal", "legs"}

    async def response(self) -> None:
        question = self.question()
        made = await self.client.responses.create(model=self.model, input=question, max_output_tokens=48, temperature=0)
        self.tokens += made.usage.output_tokens if made.usage else 0
        self.expect(f"chat {question}", made.output_text)

    def _count(self, usage: Any) -> None:
        self.tokens += usage.completion_tokens if usage else 0


def small_model(folder: Path) -> Path:
    """A random model with a tokenizer over `WORDS`."""
    import tokenizers

    from kwen.engine.language_model import LanguageModel
    from kwen.model.config import ModelConfig
    from kwen.model.initialize import initialize
    from kwen.model.transformer import Transformer
    from kwen.text.tokenizer import Tokenizer

    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator([SENTENCE] * 9, trainer)
    made.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    (folder / "tokenizer").mkdir()
    made.save(str(folder / "tokenizer" / "tokenizer.json"))
    (folder / "tokenizer" / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|im_end|>"}))
    tokenizer = Tokenizer.load(folder / "tokenizer")
    config = ModelConfig(tokenizer.vocab_size, 72, 192, 4, 3, 1, 24, max_position_embeddings=2048)
    model = Transformer(config)
    initialize(model, "scaled", 0)
    LanguageModel(model, tokenizer).save(folder / "random")
    return folder / "random"


async def run(load: Load, process: psutil.Process, seconds: float, clients: int) -> list[float]:
    """The load; the server's memory in MiB, sampled after the warm-up."""
    end = time.monotonic() + seconds
    asking = [asyncio.create_task(load.ask_until(end)) for _ in range(clients)]
    await asyncio.sleep(WARM_UP * seconds)
    memory = []
    while time.monotonic() < end:
        memory.append(process.memory_info().rss / 2**20)
        await asyncio.sleep(SAMPLE_S)
    await asyncio.gather(*asking)
    await load.client.close()
    return memory


def figures_of(url: str) -> dict[str, float]:
    """The server's own gauges."""
    import urllib.request

    text = urllib.request.urlopen(f"{url}/metrics", timeout=30).read().decode()
    return {name: float(value) for name, value in re.findall(r"^(kwen_\w+)\{model=[^}]*\} (\S+)$", text, re.MULTILINE)}


def main() -> None:
    """Serve, load, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", help="a model folder or .gguf file")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="a file for the figures")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        path = arguments.model or str(small_model(Path(name)))
        line = [sys.executable, "-c", SERVE, "serve", f"model={path}", "--port", "0", "--no-page", "--access-log", "none"]
        server = subprocess.Popen(line, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_WAIT_POLICY": "passive"})
        try:
            assert server.stdout is not None
            found = re.search(r"(http://\S+)/v1", server.stdout.readline())
            if found is None:
                raise SystemExit("kwen serve did not start")
            load = Load(f"{found.group(1)}/v1", "model", arguments.seed)
            seconds = arguments.minutes * 60
            memory = asyncio.run(run(load, psutil.Process(server.pid), seconds, arguments.clients))
            time.sleep(2)
            left = figures_of(found.group(1))
        finally:
            server.terminate()
            code = server.wait(60)
    part = max(1, len(memory) // 8)
    first, last = statistics.median(memory[:part]), statistics.median(memory[-part:])
    figures = {
        "minutes": arguments.minutes,
        "clients": arguments.clients,
        "requests": sum(load.counts.values()) - load.counts["left early"],
        "counts": dict(load.counts),
        "tokens_per_s": round(load.tokens / seconds, 1),
        "errors": dict(load.errors),
        "memory_mib": [round(first, 1), round(last, 1)],
        "memory_samples_mib": [round(one, 1) for one in memory[:: max(1, len(memory) // 60)]],
        "memory_growth_percent": round(100 * (last / first - 1), 2),
        "slots_taken_at_the_end": left["kwen_requests_running"] + left["kwen_requests_waiting"],
        "exit_code": code,
    }
    print(json.dumps(figures, indent=2))
    if arguments.json:
        write_json(arguments.json, figures)
    if load.errors or figures["slots_taken_at_the_end"] or figures["memory_growth_percent"] >= 2 or code:
        raise SystemExit("the soak found something")


if __name__ == "__main__":
    main()
