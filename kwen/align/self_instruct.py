"""Self-instruct for tool use (report 8.1, arXiv 2212.10560): a model writes requests for tools and carries them out, and what
stands the checks is what its next version learns from.

    tools -> a request, written by the base model -> calls and results, the chat model's own -> checks -> kept -> fine-tuning
      ^----------------------------------------------- the next round, with the model that came out -----------------------'

Every round's fine-tuning starts from the first chat model, on the seeds and all that was kept so far. A round's conversations and
its model are kept in the scratch folder, so that a killed run goes on.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from kwen.align.datasets import ChatFile, ChatSource
from kwen.align.sft import SFTConfig, finetune
from kwen.align.trajectory_checks import CHECKS, check_request, check_trajectory, same_request
from kwen.engine.acting import Asked, act
from kwen.engine.language_model import load
from kwen.errors import UserError
from kwen.files import folder_aside, write_json, write_text
from kwen.nanoworld.tool_dialogues import tool_dialogues, tool_sets
from kwen.nanoworld.tool_results import result_of
from kwen.progress import Progress, part_of, silent
from kwen.text.chatml import Masking
from kwen.text.control import DEFAULT_SYSTEM, tools_text
from kwen.train.loop import TrainingConfig
from kwen.train.parallel import Group, Ranks

CONVERSATIONS = "conversations.jsonl"
"""What was kept of all rounds, {"messages", "tools", "round"} a line: `ChatFile` reads it."""
ROUNDS = "rounds.json"
"""What became of the candidates of each round, and the share of its conversations with tools that the model wrote itself."""


class SelfInstructConfig(BaseModel):
    """Rounds, sampling, and the fine-tuning of each round.

    seeds: conversations with tools of nanoworld's that the loop starts from. data: what is trained beside them all. masking and
    default_system: as in SFT.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    rounds: int = Field(2, gt=0)
    candidates: int = Field(400, gt=0, description="requests that are written in a round")
    least_kept: int = Field(1, ge=0, description="conversations that a round must keep; 0 lets the seeds alone go on")
    seeds: int = Field(200, gt=0)
    data: list[ChatSource] = []
    temperature: float = Field(1.0, gt=0, description="of the requests; calls and answers are greedy")
    top_p: float = Field(0.9, gt=0, le=1)
    max_new_tokens: int = Field(96, gt=0, description="longest request and longest turn")
    turns: int = Field(6, gt=1, description="most turns of the model's in a conversation")
    masking: Masking = "team"
    default_system: str | None = DEFAULT_SYSTEM
    training: TrainingConfig


def self_instruct(
    config: SelfInstructConfig,
    *,
    seed: int,
    base: Path,
    chat: Path,
    out: Path,
    work: Path,
    ranks: Ranks,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Run the loop from the chat model in the folder `chat`; the last round's model, `CONVERSATIONS` and `ROUNDS` go into the
    folder `out`.

    base: the model that writes the requests. work: keeps finished rounds between interruptions. Returns the metrics of the last
    fine-tuning, with the rounds. Raises UserError when a round keeps fewer than `least_kept`.
    """
    work.mkdir(parents=True, exist_ok=True)
    files, rounds, model = [_write_seeds(work / "seeds.jsonl", config.seeds, seed)], list[dict[str, Any]](), chat
    for number in range(1, config.rounds + 1):
        part = part_of(progress, number - 1, config.rounds, round=str(number))
        found = work / f"round-{number}.json"
        if not found.is_file():
            arguments = {"config": config, "seed": seed, "number": number, "base": base, "chat": model, "earlier": files}
            write_json(found, ranks.run(candidates, arguments, part_of(part, 0, 2)))
        made = json.loads(found.read_text(encoding="utf-8"))
        files.append(_write_kept(work / f"round-{number}.jsonl", made, number))
        rounds.append(_figures(made, files))
        if rounds[-1]["kept"] < config.least_kept:
            raise UserError(
                f"self-instruct, round {number}: too few conversations stood the checks ({_told(rounds[-1])}); start from a chat "
                "model that calls tools, give more candidates, or lower least_kept"
            )
        model = work / f"model-{number}" if number < config.rounds else out
        if model == out or not model.is_dir():
            sft = SFTConfig(
                data=[*config.data, *(ChatFile(kind="messages", path=file) for file in files if file.stat().st_size)],
                masking=config.masking, default_system=config.default_system, training=config.training,
            )  # fmt: skip
            places: dict[str, Any] = {
                "base": chat,
                "work": work / f"training-{number}",
                "ranks": ranks,
                "progress": part_of(part, 1, 2),
            }
            if model == out:
                metrics = finetune(sft, seed=seed + number, out=out, **places)
            else:
                with folder_aside(model) as folder:
                    finetune(sft, seed=seed + number, out=folder, **places)
    write_text(out / CONVERSATIONS, "".join(file.read_text(encoding="utf-8") for file in files[1:]))
    write_json(out / ROUNDS, rounds)
    return metrics | {"rounds": rounds}


def candidates(
    group: Group,
    *,
    config: SelfInstructConfig,
    seed: int,
    number: int,
    base: Path,
    chat: Path,
    earlier: list[Path],
    progress: Progress,
) -> list[dict[str, Any]]:
    """The candidates of a round, each with what became of it (`CHECKS`) and, where it was carried out, its conversation.

    Requests are written and conversations held by all ranks, each its part; a candidate depends on its number alone.
    """
    sets = list(tool_sets(f"{seed}/{number}", config.candidates))
    definitions = [[tool.definition(language) for tool in tools] for language, tools in sets]
    numbers = group.deal(range(len(sets)))
    texts = written_requests(config, base, [definitions[index] for index in numbers], seed + number, part_of(progress, 0, 2))
    seen = {same_request(request) for file in earlier for request in _requests(file)}
    requests = group.gather(texts)
    verdicts = [check_request(request, seen) for request in requests]
    carried = group.deal([index for index, verdict in enumerate(verdicts) if verdict is None])
    asked = [Asked([{"role": "user", "content": requests[index]}], definitions[index]) for index in carried]
    offered = [{tool.name: tool for tool in sets[index][1]} for index in carried]

    def respond(place: int, said: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        return [
            {"role": "tool", "tool_call_id": call["id"], "content": result_of(offered[place], call["function"])}
            for call in said[-1]["tool_calls"]
        ]

    acted = act(
        load(chat, device=group.device), asked, respond, config.turns,
        max_new_tokens=config.max_new_tokens, progress=part_of(progress, 1, 2),
    )  # fmt: skip
    held = group.gather(
        [
            {
                "check": check_trajectory(str(one.messages[0]["content"]), all_said.messages, all_said.finish_reason, one.tools),
                "messages": [*one.messages, *all_said.messages],
                "tools": one.tools,
            }
            for one, all_said in zip(asked, acted, strict=True)
        ]
    )
    refused = [{"check": verdict, "request": request} for verdict, request in zip(verdicts, requests, strict=True) if verdict]
    return [*held, *refused]


def written_requests(
    config: SelfInstructConfig, base: Path, definitions: list[list[dict[str, Any]]], seed: int, progress: Progress
) -> list[str]:
    """One line that the base model goes on with after a list of tools, as texts about tools do."""
    lm = load(base)
    prompts = [tools_text(tools) + "\n" for tools in definitions]
    sampling = {"max_new_tokens": config.max_new_tokens, "temperature": config.temperature, "top_p": config.top_p}
    completions = lm.generate(prompts, seed=seed, stop="\n", progress=progress, **sampling)
    return [completion.text.strip() if completion.finish_reason == "stop" else "" for completion in completions]


def _write_seeds(path: Path, count: int, seed: int) -> Path:
    """The conversations that the loop starts from, in a file like those of the rounds."""
    rows = ({"messages": dialogue.messages, "tools": dialogue.tools, "round": 0} for dialogue in tool_dialogues(seed, count))
    return _write_rows(path, rows)


def _write_kept(path: Path, made: list[dict[str, Any]], number: int) -> Path:
    rows = ({"messages": one["messages"], "tools": one["tools"], "round": number} for one in made if one["check"] == "kept")
    return _write_rows(path, rows)


def _write_rows(path: Path, rows: Any) -> Path:
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def _requests(path: Path) -> list[str]:
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [message["content"] for row in rows for message in row["messages"] if message["role"] == "user"]


def _figures(made: list[dict[str, Any]], files: list[Path]) -> dict[str, Any]:
    """How many candidates met each end, and the model's own share of what is there to learn from."""
    counts = Counter(one["check"] for one in made)
    lines = [len(file.read_text(encoding="utf-8").splitlines()) for file in files]
    return {name: counts[name] for name in CHECKS} | {"own_share": sum(lines[1:]) / sum(lines)}


def _told(figures: dict[str, Any]) -> str:
    return ", ".join(f"{count} {name}" for name, count in figures.items() if count and name in CHECKS)
