"""Constrained JSON: the JSON Schema test suite through Kwen's grammars and through llguidance alone, side by side.

    npm install json-schema-test-suite; pip install "jsonschema[format-nongpl]"
    python benchmarks/json_schema.py --suite node_modules/json-schema-test-suite [--suite FOLDER ...] [--limit 30] [--json FILE]

FOLDER holds `tests/DRAFT/*.json`, as the package and the official repository do; the newest draft in it is taken (the package has
drafts 3 and 4), without the optional tests. Each schema says its draft by `$schema`. For every schema: is it accepted or refused;
is each instance of the suite that is valid accepted as a whole, and each other one rejected; and is what a tiny random model
writes under it, four answers of at most 200 tokens at temperature 1, valid by the package jsonschema.

An instance counts as accepted if one of its spellings is: orders of its keys (the schema's first), a number with and without its
".0", and json.dumps with its own separators, compact and indented, with and without escapes. "by intent not" are the valid
instances that are rejected because Kwen closes objects that name their properties, or because a format is asserted which the
standard lets be a note. "upheld" is a schema that is accepted, lets no wrong instance through, and gave only valid answers.
llguidance alone has its default options, and samples through the same generator without Kwen's closing of answers whose tokens
run out.

A schema that takes longer than the limit is left, its process ended, and counted.
"""

import argparse
import datetime
import json
import multiprocessing
import multiprocessing.connection
import os
import platform
import re
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema
import llguidance
import torch
from jsonschema_specifications import REGISTRY
from peers.json_spellings import spellings

from kwen.engine.constrain import Grammar
from kwen.engine.constrain_matcher import vocabulary
from kwen.engine.constrain_schema import prepare
from kwen.engine.generator import Generator
from kwen.engine.sampler import SamplingParams
from kwen.errors import UserError
from kwen.files import write_json
from kwen.model.config import ModelConfig
from kwen.model.transformer import Transformer
from kwen.text.tokenizer import Tokenizer
from kwen.text.tokenizer_training import TokenizerConfig, train

DRAFTS = {
    "draft2020-12": "https://json-schema.org/draft/2020-12/schema",
    "draft2019-09": "https://json-schema.org/draft/2019-09/schema",
    "draft7": "http://json-schema.org/draft-07/schema#",
    "draft6": "http://json-schema.org/draft-06/schema#",
    "draft4": "http://json-schema.org/draft-04/schema#",
}
NEW_TOKENS = 200
ANSWERS = 4
# Of an answer: one that stops at its last token before it is whole is cut; jsonschema cannot judge by every pattern (\\p{L}).
VERDICTS = ("valid", "invalid", "cut", "unjudged")
SIDES = ("kwen", "llguidance")


@dataclass(frozen=True)
class Group:
    """A schema of the suite and its instances: (description, instance, whether it is valid)."""

    place: str
    schema: Any
    instances: list[tuple[str, Any, bool]]


@dataclass
class Found:
    """What came of one schema.

    refused: why it was not accepted. accepted: for each instance, whether it was. intended: for each, whether the contestant
    means to be narrower than the standard there. outputs: (verdict, text), the verdict one of VERDICTS or an error.
    """

    refused: str | None = None
    clear: bool = True
    accepted: list[bool] = field(default_factory=list)
    intended: list[bool] = field(default_factory=list)
    outputs: list[tuple[str, str]] = field(default_factory=list)

    def upheld(self, group: Group) -> bool:
        """Whether the schema was accepted, let nothing wrong through, and gave nothing that is not valid."""
        let_in = any(accepted and not right for accepted, (_, _, right) in zip(self.accepted, group.instances, strict=False))
        return self.refused is None and not let_in and all(verdict in ("valid", "unjudged") for verdict, _ in self.outputs)


class Refused(Exception):
    """llguidance's own refusal."""


def suite(folder: Path) -> tuple[str, list[Group]]:
    """Name and groups of the newest draft under `folder`."""
    draft = next((name for name in DRAFTS if (folder / "tests" / name).is_dir()), None)
    if draft is None:
        raise SystemExit(f"{folder}: no tests/{' or tests/'.join(DRAFTS)}; give the folder of a JSON Schema test suite")
    package = folder / "package.json"
    about = json.loads(package.read_text()) if package.is_file() else {"name": folder.name, "version": ""}
    groups = []
    for path in sorted((folder / "tests" / draft).glob("*.json")):
        for group in json.loads(path.read_text()):
            schema = group["schema"]
            if isinstance(schema, dict):
                schema = {"$schema": DRAFTS[draft], **schema}
            instances = [(test["description"], test["data"], test["valid"]) for test in group["tests"]]
            groups.append(Group(f"{path.stem}: {group['description']}", schema, instances))
    return f"{about['name']} {about['version']}, {draft}", groups


def valid(instance: Any, schema: Any, formats: bool = False) -> bool:
    """Whether jsonschema finds `instance` valid; `formats` are notes otherwise."""
    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    checker = kind.FORMAT_CHECKER if formats else None
    return kind(schema, registry=REGISTRY, format_checker=checker).is_valid(instance)


def random_model(vocab_size: int) -> Transformer:
    """Two small layers whose output is far from uniform."""
    model = Transformer(ModelConfig(vocab_size, 32, 64, 2, 4, 2, 8, max_position_embeddings=512)).eval()
    source = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.3, generator=source)
            else:
                parameter.fill_(1.0)
    return model


class Examiner:
    """A tokenizer and a model over which both contestants are examined."""

    def __init__(self, folder: Path) -> None:
        """folder: where the tokenizer is trained and kept."""
        if not (folder / "tokenizer.json").is_file():
            text = [json.dumps({"name": "foo", "bar": [1, 2.5, True, None], "baz": {"quux": "x y z"}})] * 50
            train(text, TokenizerConfig(vocab_size=320, extra_tokens=1), folder)
        self.tokenizer = Tokenizer.load(folder)
        self.generator = Generator(random_model(self.tokenizer.vocab_size), self.tokenizer, slots=ANSWERS, cache_bytes=1 << 24)
        self.bytes = llguidance.LLTokenizer("byte")
        ids = range(self.tokenizer.vocab_size)
        spelled = {self.tokenizer.token_bytes(number): number for number in ids}
        self.byte_ids = [spelled[bytes([byte])] for byte in range(256)]

    def examine(self, side: str, group: Group) -> Found:
        """One contestant on one schema."""
        try:
            grammar, accepts = self._kwen(group.schema) if side == "kwen" else self._llguidance(group.schema)
        except (UserError, Refused) as refusal:
            reason = str(refusal)
            return Found(reason, clear=isinstance(refusal, UserError) and "\n" not in reason and len(reason) < 300)
        found = Found()
        meant = prepare(group.schema, "schema") if side == "kwen" else group.schema
        for _, instance, right in group.instances:
            found.accepted.append(any(accepts(text) for text in spellings(instance, group.schema)))
            found.intended.append(right and not found.accepted[-1] and not valid(instance, meant, formats=True))
        found.outputs = self._outputs(grammar, group.schema)
        return found

    def _kwen(self, schema: Any) -> tuple[Grammar, Callable[[str], bool]]:
        grammar = Grammar.from_json_schema(schema)
        start = vocabulary(self.tokenizer, self.tokenizer.vocab_size).compile(grammar).matcher
        return grammar, lambda text: _accepts(start, [self.byte_ids[byte] for byte in text.encode()])

    def _llguidance(self, schema: Any) -> tuple[Grammar, Callable[[str], bool]]:
        try:
            source = llguidance.LLMatcher.grammar_from_json_schema(json.dumps(schema))
        except ValueError as error:
            raise Refused(str(error)) from None
        start = llguidance.LLMatcher(self.bytes, source, log_level=0)
        if start.is_error():
            raise Refused(start.get_error())
        return Grammar("llguidance", source), lambda text: _accepts(start, list(text.encode()))

    def _outputs(self, grammar: Grammar, schema: Any) -> list[tuple[str, str]]:
        stops = tuple(self.tokenizer.eos_token_ids)
        params = [
            SamplingParams(NEW_TOKENS, temperature=1.0, seed=seed, stop_token_ids=stops, grammar=grammar)
            for seed in range(ANSWERS)
        ]
        try:
            answers = self.generator.generate([self.tokenizer.encode("JSON:")] * ANSWERS, params)
        except UserError as error:
            return [(str(error), "")] * ANSWERS
        return [(verdict(answer.text, answer.finish_reason == "length", schema), answer.text) for answer in answers]


def verdict(text: str, full: bool, schema: Any) -> str:
    """One of VERDICTS on an answer; full: whether it took all its tokens."""
    try:
        if valid(json.loads(text), schema):
            return "valid"
    except re.error:
        return "unjudged"
    except ValueError:
        pass  # no JSON
    return "cut" if full else "invalid"


def _accepts(start: Any, tokens: list[int]) -> bool:
    matcher = start.deep_copy()
    return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()


def work(folder: str, channel: multiprocessing.connection.Connection) -> None:
    """A worker: answers each (side, group) until its end of the channel is closed."""
    torch.set_num_threads(1)
    examiner = Examiner(Path(folder))
    channel.send(None)
    while True:
        try:
            side, group = channel.recv()
        except EOFError:
            return
        channel.send(examiner.examine(side, group))


class Worker:
    """Examinations in a process that is replaced when it takes too long or dies."""

    def __init__(self, folder: Path, limit: float) -> None:
        self._folder, self._limit = folder, limit
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._channel, theirs = context.Pipe()
        self._process = context.Process(target=work, args=(str(self._folder), theirs), daemon=True)
        self._process.start()
        theirs.close()
        self._channel.recv()

    def examine(self, side: str, group: Group) -> Found:
        self._channel.send((side, group))
        try:
            if self._channel.poll(self._limit):
                return self._channel.recv()
            reason = f"over the limit of {self._limit:.0f} s"
        except EOFError:
            reason = "its process died"
        self.close()
        self._start()
        return Found(reason, clear=False)

    def close(self) -> None:
        self._channel.close()
        self._process.kill()
        self._process.join()


def summary(side: str, groups: list[Group], found: list[Found]) -> dict[str, Any]:
    """The figures of one contestant, and by name what it got wrong."""
    taken = [(group, one) for group, one in zip(groups, found, strict=True) if one.refused is None]
    rows = [
        (f"{group.place}: {description}", right, accepted, intended)
        for group, one in taken
        for (description, _, right), accepted, intended in zip(group.instances, one.accepted, one.intended, strict=True)
    ]
    answers = [(group.place, *answer) for group, one in taken for answer in one.outputs]
    verdicts = Counter(said if said in VERDICTS else "failed" for _, said, _ in answers)
    return {
        "schemas": len(groups),
        "accepted": len(taken),
        "upheld": sum(one.upheld(group) for group, one in zip(groups, found, strict=True)),
        "refused_unclearly": sum(not one.clear for one in found),
        "valid_instances": sum(right for _, right, _, _ in rows),
        "valid_accepted": sum(right and accepted for _, right, accepted, _ in rows),
        "valid_rejected_by_intent": sum(intended for *_, intended in rows),
        "invalid_instances": sum(not right for _, right, _, _ in rows),
        "invalid_rejected": sum(not right and not accepted for _, right, accepted, _ in rows),
        "outputs": len(answers) - verdicts["unjudged"],
        "outputs_valid": verdicts["valid"],
        "verdicts": dict(verdicts),
        "reasons": dict(Counter(reason_of(one.refused) for one in found if one.refused is not None).most_common()),
        "wrongly_accepted": [name for name, right, accepted, _ in rows if accepted and not right],
        "wrongly_rejected": [name for name, right, accepted, intended in rows if right and not accepted and not intended],
        "outputs_wrong": [f"{place}: {said}: {text[:60]}" for place, said, text in answers if said not in ("valid", "unjudged")],
    }


def reason_of(refusal: str) -> str:
    """A refusal without what differs from schema to schema."""
    line = refusal.splitlines()[0].removeprefix("JSON schema: ").removeprefix("no grammar can be made of it: ")
    return re.sub(r"'[^']*[/#][^']*'|\S+://\S+", "…", line)[:120]


def table(name: str, sides: dict[str, dict[str, Any]]) -> str:
    """The contestants side by side."""
    columns = (
        ("schemas accepted", "accepted", "schemas"),
        ("upheld", "upheld", "schemas"),
        ("valid accepted", "valid_accepted", "valid_instances"),
        ("by intent not", "valid_rejected_by_intent", "valid_instances"),
        ("invalid rejected", "invalid_rejected", "invalid_instances"),
        ("outputs valid", "outputs_valid", "outputs"),
    )
    lines = [name, f"{'':<12}" + "".join(f"{title:>20}" for title, *_ in columns)]
    for side, figures in sides.items():
        cells = (
            f"{figures[part]} of {figures[whole]} {100 * figures[part] / max(1, figures[whole]):.0f} %"
            for _, part, whole in columns
        )
        lines.append(f"{side:<12}" + "".join(f"{cell:>20}" for cell in cells))
    return "\n".join(lines)


def main() -> None:
    """Examine, print, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", type=Path, action="append", required=True)
    parser.add_argument("--limit", type=float, default=30.0, help="seconds for a schema")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    suites = [suite(folder) for folder in options.suite]
    record = {
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {name: version(name) for name in ("llguidance", "jsonschema")},
        "limit_s": options.limit,
        "suites": {},
    }
    with tempfile.TemporaryDirectory() as temporary:
        worker = Worker(Path(temporary), options.limit)
        try:
            for name, groups in suites:
                sides = {side: summary(side, groups, [worker.examine(side, group) for group in groups]) for side in SIDES}
                record["suites"][name] = sides
                print(table(name, sides), flush=True)
        finally:
            worker.close()
    if options.json is not None:
        write_json(options.json, record)


if __name__ == "__main__":
    main()
