"""Agents as they come from npm and PyPI, against `kwen serve`: each calls a tool, is told its result, and ends.

    npm install @qwen-code/qwen-code
    python -m venv apart && apart/bin/pip install "qwen-agent[code_interpreter,gui,mcp,rag]" numpy soundfile python-dateutil
    python benchmarks/coding_agent.py --qwen-code node_modules/.bin/qwen --qwen-agent apart/bin/python [--json FILE]

What is tried is the server and the client, not a model's wit: the model here is written by hand, and says one thing. Its
attention and feed-forward layers are zero, so each token follows from the one before it alone; the grammar of the tools' schemas
does the rest. Told "Question: ..." it begins with "Action:", and after "Thought:", which a tool's result ends with, it says that
all is done. The tools, their results, and the requests are the client's own.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import tokenizers
import torch

from kwen.engine.language_model import LanguageModel
from kwen.files import write_json
from kwen.model.config import ModelConfig
from kwen.model.transformer import Transformer
from kwen.text.tokenizer import Tokenizer

CONTEXT = 65_536
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SERVE = "from kwen.cli.main import run; run()"
FOLLOWS = [
    ("\n", "Action", 5.0),
    ("Action", ":", 5.0),
    (":", " done", 5.0),
    (":", " list", 4.0),
    (" done", ".", 5.0),
    ("/", '"', 5.0),
]
"""A token, what comes after it, and its logit; `.` ends the turn. A free string begins with `/`, an object ends with `}`."""

QWEN_AGENT = """
import json, sys
from qwen_agent.agents import Assistant
from qwen_agent.tools.base import BaseTool, register_tool


@register_tool("list_directory")
class ListDirectory(BaseTool):
    description = "Names of the files in a directory"
    parameters = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}

    def call(self, params, **others):
        return "notes.txt"


model = {"model": "scripted", "model_server": sys.argv[1], "api_key": "none", "generate_cfg": {"use_raw_api": True}}
for said in Assistant(llm=model, function_list=["list_directory"]).run([{"role": "user", "content": "Which files are there?"}]):
    pass
print(json.dumps(said))
"""
"""A program for a Python that has Qwen-Agent."""


def tokenizer_in(folder: Path, texts: list[str]) -> Tokenizer:
    """Byte-level BPE over these texts, with the words of `FOLLOWS` as tokens."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=6000, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator([*texts, *["Action: done: list"] * 1000], trainer)
    made.add_special_tokens(CONTROL)
    made.save(str(folder / "tokenizer.json"))
    settings = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "chat_template": TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return Tokenizer.load(folder)


def scripted_model(tokenizer: Tokenizer) -> LanguageModel:
    """The model that `FOLLOWS` describes."""
    config = ModelConfig(tokenizer.vocab_size, 32, 32, 1, 2, 1, 16, max_position_embeddings=CONTEXT)
    model = Transformer(config)
    one = {text: tokenizer.encode(text)[-1] for before, after, _ in FOLLOWS for text in (before, after)}
    one |= {".": tokenizer.encode(".")[0], "}": tokenizer.encode("}")[0], "end": tokenizer.control_id("<|im_end|>")}
    rules = [*((one[before], one[after], logit) for before, after, logit in FOLLOWS), (one["."], one["end"], 5.0)]
    places = {before: place for place, before in enumerate(dict.fromkeys(before for before, _, _ in rules), 1)}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1.0) if parameter.dim() == 1 else parameter.zero_()
        embedding, head = model.model.embed_tokens.weight, model.output_weight
        embedding[:, 0] = 1.0  # every token but those below
        head[one["/"], :] = 2.0
        head[one["}"], :] = 1.0
        for before, after, logit in rules:
            embedding[before] = 0.0
            embedding[before, places[before]] = 1.0
            head[after, places[before]] = logit
    return LanguageModel(model, tokenizer)


def agent_run(qwen: Path, url: str, home: Path) -> tuple[list[dict[str, Any]], float]:
    """qwen-code's own record of one headless run, and its seconds."""
    settings = {
        "tools": {"approvalMode": "yolo"},
        "privacy": {"usageStatisticsEnabled": False},
        "telemetry": {"enabled": False},
        "general": {"disableAutoUpdate": True},
        "security": {"auth": {"selectedType": "openai"}},
    }
    (home / ".qwen").mkdir()
    write_json(home / ".qwen" / "settings.json", settings)
    variables = {"HOME": str(home), "OPENAI_API_KEY": "none", "OPENAI_BASE_URL": url, "OPENAI_MODEL": "scripted"}
    line = [
        str(qwen),
        "--prompt",
        "Which files are there?",
        "--yolo",
        "--core-tools",
        "list_directory",
        "--output-format",
        "json",
    ]
    began = time.monotonic()
    done = subprocess.run(line, cwd=home, env={**os.environ, **variables}, capture_output=True, text=True, timeout=300)
    try:
        return json.loads(done.stdout), time.monotonic() - began
    except ValueError:
        raise SystemExit(f"qwen-code ended with {done.returncode}: {done.stdout[-500:]} {done.stderr[-500:]}") from None


def blocks(record: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """The content blocks of one type in a record."""
    contents = [entry["message"]["content"] for entry in record if isinstance(entry.get("message"), dict)]
    return [block for content in contents if isinstance(content, list) for block in content if block.get("type") == kind]


def try_qwen_code(program: Path, url: str, home: Path) -> dict[str, Any]:
    """What came of a run of qwen-code."""
    record, seconds = agent_run(program, url, home)
    calls, results = blocks(record, "tool_use"), blocks(record, "tool_result")
    answer = next((entry.get("result") for entry in record if entry.get("type") == "result"), None)
    return {
        "version": record[0].get("qwen_code_version"),
        "calls": [[call["name"], call["input"]] for call in calls],
        "results": [str(result.get("content"))[:80] for result in results],
        "answer": answer,
        "seconds": round(seconds, 2),
        "complete": bool(calls and results) and not any(result.get("is_error") for result in results) and answer == "done.",
    }


def try_qwen_agent(python: Path, url: str, home: Path) -> dict[str, Any]:
    """What came of a run of Qwen-Agent's Assistant over the server's own tool calls."""
    began = time.monotonic()
    done = subprocess.run([str(python), "-c", QWEN_AGENT, url], cwd=home, capture_output=True, text=True, timeout=300)
    try:
        messages = json.loads(done.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError):
        raise SystemExit(f"Qwen-Agent ended with {done.returncode}: {done.stderr[-800:]}") from None
    calls = [message["function_call"] for message in messages if message.get("function_call")]
    results = [message["content"] for message in messages if message["role"] == "function"]
    return {
        "calls": [[call["name"], json.loads(call["arguments"])] for call in calls],
        "results": results,
        "answer": messages[-1]["content"],
        "seconds": round(time.monotonic() - began, 2),
        "complete": bool(calls and results) and messages[-1]["content"] == "done.",
    }


def main() -> None:
    """Run those that are there, and say whether each made the round trip."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--qwen-code", type=Path, help="qwen-code's program")
    parser.add_argument("--qwen-agent", type=Path, help="a Python that has Qwen-Agent")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    arguments = parser.parse_args()
    trials = {"qwen_code": (try_qwen_code, arguments.qwen_code), "qwen_agent": (try_qwen_agent, arguments.qwen_agent)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "tokenizer").mkdir()
        texts = [path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parents[1].glob("docs/*.md"))]
        scripted_model(tokenizer_in(folder / "tokenizer", texts)).save(folder / "scripted")
        line = [sys.executable, "-c", SERVE, "serve", str(folder / "scripted"), "--port", "0", "--no-page"]
        server = subprocess.Popen([*line, "--access-log", str(folder / "log")], stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            found = re.search(r"http://\S+", server.stdout.readline())
            if found is None:
                raise SystemExit("kwen serve did not start")
            figures: dict[str, Any] = {}
            for trial, (run, program) in trials.items():
                if program is not None:
                    (folder / trial).mkdir()
                    figures[trial] = run(program.absolute(), found.group(), folder / trial)
        finally:
            server.terminate()
            server.wait(30)
        requests = [json.loads(line) for line in (folder / "log").read_text().splitlines()]
    figures["requests"] = [[entry["status"], entry.get("prompt_tokens"), entry.get("cached_tokens")] for entry in requests]
    print(json.dumps(figures, indent=2))
    if arguments.json:
        write_json(arguments.json, figures)
    if not all(figures[trial]["complete"] for trial in trials if trial in figures):
        raise SystemExit("no tool round trip")


if __name__ == "__main__":
    main()
