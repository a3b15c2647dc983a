"""`kwen chat`: a conversation in the terminal, one answer for `--message`, or an answer a line from standard input."""

import os
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from kwen.cli.streaming import PieceWriter
from kwen.errors import UserError
from kwen.files import write_json

if TYPE_CHECKING:
    from kwen.agent.events import Event
    from kwen.agent.loop import Agent
    from kwen.engine.language_model import LanguageModel

YOU, KWEN, INDENT = "you   ", "kwen  ", "      "


def chat(
    model: str = typer.Argument(..., help="A model folder, a .gguf file, or a name on the hub."),
    message: str = typer.Option(None, help="Answer this one message and leave; - reads it from standard input."),
    system: str = typer.Option(None, help="The system prompt."),
    max_new_tokens: int = typer.Option(512, help="Tokens of an answer at most."),
    temperature: float = typer.Option(None, help="0 takes the likeliest token; default: the model's own setting, else 0."),
    top_p: float = typer.Option(None, help="Sample from the likeliest tokens of this much probability."),
    top_k: int = typer.Option(None, help="Sample from this many likeliest tokens; 0 is all."),
    repetition_penalty: float = typer.Option(None, help="Above 1, tokens that occurred become less likely."),
    seed: int = typer.Option(0, help="Equal seeds give equal answers."),
    stop: list[str] = typer.Option([], help="End an answer before this text; may be given several times."),
    dtype: str = typer.Option(None, help="float32, bfloat16, float16, int8, int4; default: float32 on a CPU, bfloat16 on a GPU."),
    device: str = typer.Option(None, help="cpu, cuda, cuda:1, ...; default: a GPU where there is one."),
    tools: str = typer.Option("", help="Tools it may call: python, calculator, clock, read, search; with commas between."),
    mcp: list[str] = typer.Option([], help="Command or URL of an MCP server, for its tools; may be given several times."),
    file: list[Path] = typer.Option([], help="A file for the tools to work on; may be given several times."),
    workspace: Path = typer.Option(None, help="The folder that python, read and search work in; default: an empty one."),
    out: Path = typer.Option(Path("kwen-files"), help="Where files and images that tools make are written."),
    must_call: bool = typer.Option(False, "--must-call", help="Every answer begins with a call; small models need it."),
    unsafe: bool = typer.Option(False, "--unsafe", help="Run python without a sandbox, with your own rights."),
) -> None:
    """Talk to a model, which may call tools."""
    from kwen.engine.language_model import load  # after the arguments are parsed: it brings the tensor library with it
    from kwen.engine.sampler import default_sampling

    lm = load(model, dtype=dtype, device=device)
    chosen = {
        "temperature": temperature, "top_p": top_p, "top_k": top_k, "repetition_penalty": repetition_penalty,
    }  # fmt: skip
    settings = default_sampling(lm.generation_config) | {name: value for name, value in chosen.items() if value is not None}
    settings |= {"max_new_tokens": max_new_tokens, "seed": seed}
    names = [name.strip() for name in tools.split(",") if name.strip()]
    with ExitStack() as stack:
        agent: Agent | None = None
        if names or mcp:
            if stop:
                raise UserError("--stop ends plain answers only; leave it out where tools are used")
            agent = stack.enter_context(_agent(lm, names, mcp, stack, system, workspace, must_call=must_call, unsafe=unsafe))
        elif file or workspace is not None or must_call:
            raise UserError("--file, --workspace and --must-call are for tools; name some with --tools")
        conversation = Conversation(lm, model, settings, system, stop, agent, file, out)
        _converse(conversation, model, message)


def _agent(
    lm: "LanguageModel", names: list[str], mcp: list[str], stack: ExitStack, system: str | None, workspace: Path | None,
    *, must_call: bool, unsafe: bool,
) -> "Agent":  # fmt: skip
    from kwen.agent.loop import Agent
    from kwen.agent.tool import Tool

    tools: list[Tool | str] = [*names]
    if mcp:
        from kwen.agent.mcp import connect

        served = stack.enter_context(connect(*mcp))
        for notice in served.notices:
            print(notice, file=sys.stderr)
        tools += served
    return Agent(lm, tools, system, workspace=workspace, must_call=must_call, unsafe=unsafe)


def _converse(conversation: "Conversation", model: str, message: str | None) -> None:
    if message is not None:
        _answer(conversation, sys.stdin.read() if message == "-" else message, "")
    elif sys.stdin.isatty() and sys.stdout.isatty():
        print(f"{Path(model).name}  ·  /help lists the commands, Ctrl-C stops an answer, Ctrl-D leaves")
        for line in _typed_lines(conversation):
            try:
                if not _take(conversation, line, KWEN):
                    return
            except KeyboardInterrupt:
                print(f"{INDENT}(stopped)")
    else:
        for line in sys.stdin:
            if not _take(conversation, line.rstrip("\n"), ""):
                return


class Conversation:
    """What has been said, the settings in force, and the slash commands that change them."""

    def __init__(
        self,
        lm: "LanguageModel",
        name: str,
        settings: dict[str, Any],
        system: str | None = None,
        stop: list[str] | None = None,
        agent: "Agent | None" = None,
        files: list[Path] | None = None,
        out: Path = Path("kwen-files"),
    ) -> None:
        self.lm, self.name, self.settings, self.system, self.stop = lm, name, settings, system, stop or []
        self.agent, self.files, self.out = agent, files or [], out
        self.turns: list[dict[str, Any]] = []
        self._saved: set[Path] = set()
        self.commands: dict[str, tuple[Callable[[str], str], str, str]] = {
            "/help": (self._help, "", "this list"),
            "/clear": (self._clear, "", "forget what was said; the system prompt stays"),
            "/system": (self._system, "TEXT", "set the system prompt; without TEXT show it, with - remove it"),
            "/seed": (self._seed, "N", "another seed, other answers where the temperature is above 0"),
            "/set": (self._set, "KEY VALUE", "change a setting; without KEY show all"),
            "/save": (self._save, "FILE", "write the conversation as JSON"),
            "/quit": (self._quit, "", "leave, as Ctrl-D does"),
        }

    def command(self, line: str) -> str:
        """Carry out a slash command and say what it did; UserError for what cannot be done, EOFError to leave."""
        name, _, argument = line.strip().partition(" ")
        if name not in self.commands:
            raise UserError(f"{name} is no command; /help lists them, and a space before it sends the line as text")
        return self.commands[name][0](argument.strip())

    def answer(self, text: str) -> Generator[str, None, None]:
        """Say `text`; give the answer in pieces. What was given when the caller stops, or all of it, becomes history.

        Raises UserError (and forgets `text`) if the model cannot take it.
        """
        self.turns.append({"role": "user", "content": text})
        head = [] if self.system is None else [{"role": "system", "content": self.system}]
        pieces: list[str] = []
        try:
            for delta in self.lm.stream_chat([*head, *self.turns], stop=self.stop, **self.settings):
                pieces.append(delta["content"])
                yield delta["content"]
        except UserError:
            self.turns.pop()
            raise
        finally:
            if pieces:
                self.turns.append({"role": "assistant", "content": "".join(pieces)})

    def act(self, text: str) -> Generator["Event", None, None]:
        """Say `text` to the agent; its events. Steps that were finished when the caller stops become history.

        Files named on the command line come with the first question. Raises UserError as `answer` does.
        """
        assert self.agent is not None
        self.agent.system = self.system
        settings = {name: value for name, value in self.settings.items() if name != "max_new_tokens"}
        self.agent.max_new_tokens = int(self.settings["max_new_tokens"])
        yield from self.agent.stream(text, self.files, self.turns, settings)
        self.files = []

    def keep(self) -> None:
        """What the agent's last run said, as history; a question without an answer is forgotten."""
        run = self.agent.last if self.agent else None
        if run is not None and len(run.messages) > run.asked:
            self.turns = [message for message in run.messages if message["role"] != "system"]

    def _help(self, _: str) -> str:
        return "\n".join(f"{f'{name} {takes}':16} {text}" for name, (_, takes, text) in self.commands.items())

    def _clear(self, _: str) -> str:
        self.turns.clear()
        return "forgotten"

    def _system(self, text: str) -> str:
        if text:
            self.system = None if text == "-" else text
        return "no system prompt of yours" if self.system is None else f"system prompt: {self.system}"

    def _seed(self, text: str) -> str:
        return self._set(f"seed {text}")

    def _set(self, text: str) -> str:
        from kwen.engine.sampler import SamplingParams

        if text:
            key, _, value = text.partition(" ")
            if key not in self.settings:
                raise UserError(f"{key} is no setting; the settings are {', '.join(self.settings)}")
            kind = int if key in ("max_new_tokens", "top_k", "seed") else float
            try:
                changed = self.settings | {key: kind(value)}
            except ValueError as error:
                expected = "a whole number" if kind is int else "a number"
                raise UserError(f"{key} must be {expected}, not {value!r}") from error
            SamplingParams(**changed)
            self.settings = changed
        return "  ".join(f"{key} {value}" for key, value in self.settings.items())

    def _save(self, text: str) -> str:
        if not text:
            raise UserError("/save needs the name of a file")
        path = Path(text).expanduser()
        if path.exists() and path not in self._saved:
            raise UserError(f"{path} exists already; choose another name")
        head = [] if self.system is None else [{"role": "system", "content": self.system}]
        try:
            write_json(path, {"model": self.name, "settings": self.settings, "messages": [*head, *self.turns]})
        except OSError as error:
            raise UserError(f"{path} cannot be written ({error.strerror})") from error
        self._saved.add(path)
        return f"{len(self.turns)} messages saved to {path}"

    def _quit(self, _: str) -> str:
        raise EOFError


def _take(conversation: Conversation, line: str, label: str) -> bool:
    """One line of the user's: nothing, a command, or something to answer; False to leave. Mistakes are told, not raised."""
    try:
        if line.startswith("/"):
            told = conversation.command(line)
            print("\n".join((INDENT if label else "") + part for part in told.splitlines()))
        elif line.strip():
            _answer(conversation, line, label)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
    except EOFError:
        return False
    return True


def _act(conversation: Conversation, text: str, label: str) -> None:
    """One answer of the agent's, call by call."""
    from kwen.cli.agent import AgentWriter, save_files

    assert conversation.agent is not None
    writer = AgentWriter(sys.stdout, label, INDENT if label else "")
    steps = conversation.act(text)
    try:
        for event in steps:
            writer.write(event)
        run = conversation.agent.last
        for path in save_files(run.files if run else [], conversation.out):
            writer.note(f"saved {path}")
    finally:
        steps.close()
        conversation.keep()
        writer.end()


def _answer(conversation: Conversation, text: str, label: str) -> None:
    if conversation.agent is not None:
        return _act(conversation, text, label)
    writer = PieceWriter(sys.stdout, INDENT if label else "")
    started = False
    pieces = conversation.answer(text)
    try:
        for piece in pieces:
            if not started:
                sys.stdout.write(label)
                started = True
            writer.write(piece)
    finally:
        pieces.close()  # now, so that what was said so far is in the history before the next line
        if started:
            writer.end()


def _typed_lines(conversation: Conversation) -> Iterator[str]:
    """Lines typed at the terminal, with editing and the history of earlier sessions."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.history import FileHistory, History, InMemoryHistory

    history: History = InMemoryHistory()
    folder = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "kwen"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / "chat_history").touch(mode=0o600)
        history = FileHistory(str(folder / "chat_history"))
    except OSError as error:
        print(f"{INDENT}(what you type is not kept: {folder} cannot be written, {error.strerror})")
    completer = WordCompleter(list(conversation.commands), sentence=True)
    session: PromptSession[str] = PromptSession(history=history, completer=completer, complete_while_typing=False)
    while True:
        try:
            yield session.prompt([("bold ansigreen", YOU)], prompt_continuation=INDENT)
        except KeyboardInterrupt:
            print(f"{INDENT}(Ctrl-D or /quit leaves)")
        except EOFError:
            return
