"""Encoding speed, one run, same text: Kwen's `encode_batch` beside transformers' fast tokenizer and tiktoken.

    python benchmarks/encode.py [--vocabulary qwen.tiktoken] [--text FILE]... [--megabytes 8] [--rounds 5] [--json FILE]

Without a vocabulary one of 8,192 entries is trained on the text and only tokenizer.json readers are compared. Texts default to
the real data beside the repository where it lies, else to nanoworld's documents. Every engine encodes the same list of texts
on all processors it uses by itself. The ids must be equal.
"""

import argparse
import gzip
import math
import os
import platform
import re
import statistics
import tarfile
import tempfile
import time
import unicodedata
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import psutil
import tiktoken
import transformers

from kwen.files import write_json
from kwen.nanoworld.documents import documents
from kwen.text.patterns import REPORT_PATTERN
from kwen.text.tokenizer import Tokenizer
from kwen.text.tokenizer_training import TokenizerConfig, train

DATA = Path(os.environ.get("KWEN_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
ARCHIVES = ("standardebooks/james-joyce_ulysses.tar.gz", "d2l_zh/d2l_zh_md.tar.gz", "opensource_guide/opensource_guide_md.tar.gz")


def archive_texts(path: Path) -> list[str]:
    """The text members of a tar archive, tags removed."""
    found = []
    with tarfile.open(path) as archive:
        for member in archive:
            stream = archive.extractfile(member) if member.isfile() and member.name.endswith((".xhtml", ".md", ".txt")) else None
            if stream is not None:
                found.append(re.sub("<[^>]+>", "", stream.read().decode(errors="replace")))
    return found


def load_texts(files: list[Path], megabytes: float) -> tuple[list[str], str]:
    """Texts of about `megabytes` in all, in pieces of at most 100,000 characters, and where they are from."""
    if files:
        texts, origin = [file.read_text(encoding="utf-8", errors="replace") for file in files], "files given"
    elif DATA.is_dir():
        texts = [text for name in ARCHIVES for text in archive_texts(DATA / name)]
        origin = "Ulysses, d2l (Chinese and English), opensource.guide (29 languages)"
    else:
        texts, origin = [document.text for document in documents(0, "train", 20_000)], "nanoworld"
    pieces = [text[at : at + 100_000] for text in texts for at in range(0, len(text), 100_000)]
    # Every k-th piece, so that a part of the whole has the mixture of the whole.
    step = max(1, math.ceil(sum(len(piece.encode(errors="replace")) for piece in pieces) / (megabytes * 1e6)))
    # In NFC, which Kwen and transformers bring about and tiktoken leaves to its caller: all must see the same characters.
    return [unicodedata.normalize("NFC", piece) for piece in pieces[::step]], origin


def find_vocabulary(given: Path | None, folder: Path, texts: list[str]) -> Path:
    """A folder that holds the vocabulary to measure with."""
    packed = DATA / "tokenizers" / "qwen.tiktoken.gz"
    if given is not None or packed.is_file():
        data = given.read_bytes() if given is not None else gzip.decompress(packed.read_bytes())
        (folder / "qwen.tiktoken").write_bytes(data)
    else:
        train(iter(texts), TokenizerConfig(vocab_size=8192), folder)
    return folder


def reference_engine(tokenizer: Tokenizer) -> Callable[[list[str]], list[list[int]]]:
    """tiktoken on the same vocabulary."""
    first_control = min(tokenizer.control_tokens.values())
    ranks = {tokenizer.token_bytes(number): number for number in range(first_control)}
    encoding = tiktoken.Encoding("reference", pat_str=REPORT_PATTERN, mergeable_ranks=ranks, special_tokens={})
    threads = len(os.sched_getaffinity(0))
    return lambda texts: encoding.encode_ordinary_batch(texts, num_threads=threads)


@dataclass(frozen=True)
class Figure:
    """One engine: median wall and processor seconds of a round, and both over Kwen's in the same round, medians again."""

    seconds: float
    cpu_seconds: float
    ratio: float
    cpu_ratio: float


def measure(engines: dict[str, Callable[[list[str]], Any]], texts: list[str], rounds: int) -> dict[str, Figure]:
    """Every engine once a round, in an order that turns from round to round, after one unmeasured round.

    Ratios are taken within a round, so that a machine that slows down between rounds does not move them; the processor's time
    is the steadier measure where other programs run.
    """
    names = list(engines)
    wall: dict[str, list[float]] = {name: [] for name in names}
    cpu: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds + 1):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            began, began_cpu = time.perf_counter(), time.process_time()
            engines[name](texts)
            if number:
                wall[name].append(time.perf_counter() - began)
                cpu[name].append(time.process_time() - began_cpu)

    def ratio(times: dict[str, list[float]], name: str) -> float:
        return statistics.median(other / own for other, own in zip(times[name], times["kwen"], strict=True))

    return {
        name: Figure(statistics.median(wall[name]), statistics.median(cpu[name]), ratio(wall, name), ratio(cpu, name))
        for name in names
    }


def main() -> None:
    """Measure, print the table, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabulary", type=Path)
    parser.add_argument("--text", type=Path, action="append", default=[])
    parser.add_argument("--megabytes", type=float, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    texts, origin = load_texts(arguments.text, arguments.megabytes)
    size = sum(len(text.encode(errors="replace")) for text in texts)

    with tempfile.TemporaryDirectory() as temporary:
        folder = find_vocabulary(arguments.vocabulary, Path(temporary), texts)
        began = time.perf_counter()
        kwen = Tokenizer.load(folder)
        loads = {"kwen": time.perf_counter() - began}
        kwen.save(folder / "hf")
        began = time.perf_counter()
        from_json = Tokenizer.load(folder / "hf")
        loads["kwen, tokenizer.json"] = time.perf_counter() - began
        began = time.perf_counter()
        fast = transformers.AutoTokenizer.from_pretrained(folder / "hf")
        loads["transformers"] = time.perf_counter() - began
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    engines: dict[str, Callable[[list[str]], Any]] = {
        "kwen": kwen.encode_batch,
        "kwen, tokenizer.json": from_json.encode_batch,
        "transformers": lambda batch: fast(batch, add_special_tokens=False)["input_ids"],
        "tiktoken": reference_engine(kwen),
    }
    ids = kwen.encode_batch(texts)
    differing = {name: sum(a != b for a, b in zip(ids, engine(texts), strict=True)) for name, engine in engines.items()}
    load = os.getloadavg()[0]
    figures = measure(engines, texts, arguments.rounds)

    tokens = sum(map(len, ids))
    cores = len(os.sched_getaffinity(0))
    print(f"{size / 1e6:.1f} MB ({origin}), {len(texts)} texts, {tokens:,} tokens, vocabulary {kwen.vocab_size:,}")
    print(f"{cores} cores, {load:.1f} programs running before the first round; ratios: engine's time over Kwen's")
    print(f"{'engine':<22}{'MB/s':>8}{'ratio':>8}{'cpu ratio':>11}{'load s':>9}{'differing texts':>17}")
    for name, figure in figures.items():
        seconds = f"{loads[name]:.2f}" if name in loads else "-"
        speed = size / 1e6 / figure.seconds
        print(f"{name:<22}{speed:>8.1f}{figure.ratio:>8.2f}{figure.cpu_ratio:>11.2f}{seconds:>9}{differing[name]:>17}")
    if arguments.json is not None:
        machine = {
            "processor": processor_name(),
            "cores": cores,
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
            "load_before": load,
        }
        record = {
            "date": date.today().isoformat(),
            "machine": machine,
            "text": origin,
            "megabytes": size / 1e6,
            "texts": len(texts),
            "tokens": tokens,
            "vocabulary": kwen.vocab_size,
            "rounds": arguments.rounds,
            "versions": {"transformers": transformers.__version__, "tiktoken": tiktoken.__version__},
            "engines": {
                name: {
                    "megabytes_per_second": size / 1e6 / figure.seconds,
                    **asdict(figure),
                    "load_seconds": loads.get(name),
                    "differing_texts": differing[name],
                }
                for name, figure in figures.items()
            },
        }
        write_json(arguments.json, record)


def processor_name() -> str:
    """The processor as Linux names it, else what Python knows."""
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", cpuinfo.read_text()) if cpuinfo.is_file() else None
    return found.group(1) if found else platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
