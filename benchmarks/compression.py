"""The report's Figure 3 on text that others wrote: tokens of the real Qwen vocabulary, of the published ones beside it and of the
family's own, language by language.

    python benchmarks/compression.py [--data DIR] [--own FOLDER] [--json FILE]

DIR holds tokenizers/, opensource_guide/ (29 languages) and udhr/ (more than 500), archives read in place; without it nothing can
be measured. FOLDER is a tokenizer of a family. The tables are relative to the best of each row, and end with the geometric mean
over all languages and the number of languages in which each tokenizer needs the fewest tokens. In the file the 29 languages stand
whole, in the form of `kwen tokenizer compare --by-language --json`, and of the UDHR the languages of the report's figure.
"""

import argparse
import math
import os
import platform
import time
from datetime import date
from pathlib import Path
from typing import Any

import psutil

from kwen.corpus.by_language import texts_by_language
from kwen.files import write_json
from kwen.text.comparison import compression_by_language, relative_tokens
from kwen.text.tokenizer import Tokenizer

DATA = Path(os.environ.get("KWEN_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
PUBLISHED = ("qwen", "cl100k_base", "o200k_base", "p50k_base", "r50k_base")
# The report's languages under their names in the UDHR project, in the figure's order; code has no page there.
FIGURE = (
    "Thai", "Hebrew", "Arabic, Standard", "Korean", "Vietnamese", "Chinese, Mandarin (Simplified)", "Japanese", "Turkish",
    "Indonesian", "Polish", "Russian", "Dutch", "Portuguese (Portugal)", "Italian", "German, Standard (1996)", "Spanish",
    "French", "English",
)  # fmt: skip


def summary(found: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Of each tokenizer: the geometric mean over languages of its tokens relative to the best, and in how many it is the best."""
    rows = [relative_tokens(counts["tokens"]) for counts in found["languages"].values()]
    return {
        name: {
            "mean_relative_tokens": round(math.exp(sum(math.log(row[name]) for row in rows) / len(rows)), 4),
            "best_in": sum(row[name] == 1.0 for row in rows),
        }
        for name in found["tokenizers"]
    }


def shown(title: str, found: dict[str, Any], languages: list[str]) -> None:
    """The rows of some languages, and the summary over all."""
    names = list(found["tokenizers"])
    print(f"{title:<32}" + "".join(f"{name:>13}" for name in names))
    for language in languages:
        ratios = relative_tokens(found["languages"][language]["tokens"])
        print(f"{language:<32}" + "".join(f"{ratios[name]:>13.3f}" for name in names))
    means = summary(found)
    print(f"{'mean of all':<32}" + "".join(f"{means[name]['mean_relative_tokens']:>13.3f}" for name in names))
    print(f"{'best in':<32}" + "".join(f"{means[name]['best_in']:>13,}" for name in names) + "\n")


def main() -> None:
    """Count, print the tables, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--own", type=Path)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    files = {name: arguments.data / "tokenizers" / f"{name}.tiktoken.gz" for name in PUBLISHED}
    files |= {} if arguments.own is None else {"own": arguments.own}
    tokenizers = {name: Tokenizer.load(path) for name, path in files.items()}
    began = time.perf_counter()
    guide, udhr = (
        compression_by_language(tokenizers, texts_by_language(arguments.data / name)) for name in ("opensource_guide", "udhr")
    )
    seconds = time.perf_counter() - began
    of_figure = [name for name in FIGURE if name in udhr["languages"]]
    shown("opensource.guide", guide, list(guide["languages"]))
    shown(f"UDHR, {len(udhr['languages'])} languages", udhr, of_figure)
    if arguments.json is not None:
        memory = round(psutil.virtual_memory().total / 2**30, 1)
        machine = {"processor": processor_name(), "cores": len(os.sched_getaffinity(0)), "memory_gib": memory}
        part = {name: udhr["languages"][name] for name in of_figure}
        record = {
            "date": date.today().isoformat(),
            "machine": machine,
            "seconds": round(seconds, 1),
            "opensource_guide": guide | {"summary": summary(guide)},
            "udhr": udhr | {"languages": part, "languages_in_all": len(udhr["languages"]), "summary": summary(udhr)},
        }
        write_json(arguments.json, record)


def processor_name() -> str:
    """The processor's name as Linux gives it, else as Python does."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
