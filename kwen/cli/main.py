"""`kwen`: the commands by name, and the one place where errors become a line and an exit code.

    0  done      2  a user's mistake, one line `error: ...`      130  stopped with Ctrl-C      1  a fault of Kwen's own

A command's module is imported when the command is used: `kwen --help` stays quick and imports no tensor library.
"""

import errno
import os
import sys
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

import kwen
from kwen.errors import UserError

COMMANDS: dict[str, tuple[str, str]] = {
    "build": ("kwen.cli.build:build", "Make a family: what is missing or stale, nothing else."),
    "status": ("kwen.cli.build:status", "What a run holds, and what a build would do."),
    "report": ("kwen.cli.report:report", "A run's own technical report, as a page or as JSON."),
    "chat": ("kwen.cli.chat:chat", "Talk to a model."),
    "serve": ("kwen.cli.serve:serve", "Put models behind OpenAI's API, and a page."),
    "generate": ("kwen.cli.generate:generate", "Continue a prompt."),
    "eval": ("kwen.cli.evaluate:evaluate", "Score a model, or saved answers, on tasks."),
    "tokenizer": ("kwen.cli.tokenizer:app", "Train a tokenizer, encode, compare."),
    "corpus": ("kwen.cli.corpus:app", "Build a corpus, look into one."),
    "train": ("kwen.cli.train:app", "One training stage alone."),
    "convert": ("kwen.cli.convert:convert", "Write a checkpoint in another format."),
    "doctor": ("kwen.cli.doctor:doctor", "What this machine offers, and what is missing for what."),
}
"""Command -> (module:name, one line for the help). A name is a function, or a `typer.Typer` with commands of its own."""


class LazyGroup(TyperGroup):
    """The commands of `COMMANDS`, each imported when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command, made from what its module offers; None for a name that is not in the table."""
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name][0].split(":")
        offered = getattr(import_module(module), name)
        if not isinstance(offered, typer.Typer):
            single = typer.Typer(add_completion=False, rich_markup_mode=None)
            single.command(cmd_name)(offered)
            offered = single
        command = typer.main.get_command(offered)
        command.name = cmd_name
        return command

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The help of `kwen` itself, from the table alone: no command's module is imported for it."""
        formatter.write_usage("kwen", "COMMAND [ARGS]...")
        formatter.write_paragraph()
        formatter.write_text("From raw text to a family of language models, and any Qwen checkpoint in and out.")
        with formatter.section("Commands (kwen COMMAND --help says more)"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])
        with formatter.section("Options"):
            formatter.write_dl([("--version", "Print the version."), ("--help", "Print this.")])


app = typer.Typer(cls=LazyGroup, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"kwen {kwen.__version__}")
        raise typer.Exit


@app.callback()
def _root(version: bool = typer.Option(False, "--version", is_eager=True, callback=_print_version)) -> None:
    """Options that stand before any command."""


def run() -> None:
    """The console script: run a command and end the process with its exit code."""
    sys.exit(exit_code(sys.argv[1:]))


def exit_code(arguments: list[str]) -> int:
    """Run `kwen ARGUMENTS` and return its exit code; what a user did wrong goes to standard error as one line."""
    usage_error: Any = typer.BadParameter.__mro__[2]  # click's ClickException, wherever this version of typer keeps click
    try:
        result = app(arguments or ["--help"], prog_name="kwen", standalone_mode=False)
        sys.stdout.flush()
        if result == 130:
            return _stopped()
        return result if isinstance(result, int) else 0
    except UserError as error:
        return _mistake(str(error))
    except (KeyboardInterrupt, typer.Abort):
        return _stopped()
    except BrokenPipeError:
        # The reader (head, less) went away; standard output is pointed elsewhere so that Python's exit does not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return _mistake(f"the disk is full{_at(error)}; make room and run the same command again")
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return _mistake(f"not allowed{_at(error)}: {error.strerror}; choose a folder that you may write to")
        raise
    except usage_error as error:
        return _mistake(f"{error.format_message()} (kwen {_command_of(error)}--help says what there is)")


def _at(error: OSError) -> str:
    return f" at {error.filename}" if error.filename else ""


def _command_of(error: Any) -> str:
    context = getattr(error, "ctx", None)
    path = context.command_path.removeprefix("kwen").strip() if context is not None else ""
    return f"{path} " if path else ""


def _mistake(text: str) -> int:
    print(f"error: {' '.join(text.split())}", file=sys.stderr)
    return 2


def _stopped() -> int:
    print("stopped; the same command goes on from here", file=sys.stderr)
    return 130
