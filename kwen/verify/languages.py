"""Candidates in JavaScript, Java, Go, C++ and Rust: built and tested in the sandbox with the machine's own compilers.

    toolchain(language) -> where its compiler is, what of the host it needs to see, and its command lines
    passes(language, (code, tests)...) -> sources (programs.py) -> jail: build_and_run.py builds, runs, checks the token

Building is as hostile as running (a program may include /dev/zero, or have the compiler compute for ever), so both happen in
the same jail, after each other, under one limit of time, and see the compiler read only, and no more of the host than that.
"""

import functools
import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kwen.errors import UserError
from kwen.progress import Progress, silent
from kwen.sandbox import Result, run_many
from kwen.verify import build_and_run, code_tests, javascript
from kwen.verify.programs import SOURCES

TIMEOUT_S = 30.0
"""For building and running one program; on an idle core Rust takes 1 s, the others less."""


@dataclass(frozen=True)
class Toolchain:
    """How a language's programs are built and run: command lines, and the host's files and folders that these need (`show`).

    `files` and `links` lie beside the sources of every program. `memory_mb` is the sandbox's limit, of address space too.
    """

    show: Sequence[str]
    build: Sequence[Sequence[str]]
    run: Sequence[str]
    memory_mb: int
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)


def _javascript() -> Toolchain:
    node = javascript.find_node()
    show = [path for path in (node, "/usr/share/nodejs") if os.path.exists(path)]  # Debian's node loads some of itself from there
    memory_mb = javascript.MEMORY_MB
    return Toolchain(show, [], [node, f"--max-old-space-size={memory_mb // 4}", "run.js"], memory_mb)


def _java() -> Toolchain:
    home = os.path.dirname(os.path.dirname(_find("javac", "java", "default-jdk-headless")))
    # Debian keeps what an administrator may change outside the folder.
    linked = {os.path.dirname(os.path.realpath(f"{home}/{path}")) for path in ("lib/jvm.cfg", "conf/security/java.security")}
    outside = [path for path in sorted(linked) if path.startswith("/etc/")]
    small = ["-Xmx256m", "-Xss1m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:ReservedCodeCacheSize=24m"]
    small += ["-XX:CompressedClassSpaceSize=32m", "-XX:ActiveProcessorCount=2", "-XX:-UsePerfData"]
    compiler = [f"{home}/bin/javac", *(f"-J{option}" for option in small), "-proc:none", "-nowarn", "-encoding", "UTF-8"]
    return Toolchain(
        show=[home, *outside],
        build=[[*compiler, "Main.java", "Run.java"]],
        run=[f"{home}/bin/java", *small, "-cp", ".", "Run"],
        memory_mb=1024,
        # Without /proc it does not find its own libraries; each thread would else reserve 64 MB for its small objects.
        environment={"LD_LIBRARY_PATH": f"{home}/lib", "MALLOC_ARENA_MAX": "1"},
    )


def _go() -> Toolchain:
    go = _find("go", "go", "golang-go")
    cache = Path.home() / ".cache" / "kwen" / "go"  # from Go 1.20 on its library comes as source and is built here, once
    settings = {"GOCACHE": str(cache), "GOFLAGS": "", "GO111MODULE": "off", "GOTOOLCHAIN": "local"}
    form = "{{if .Export}}packagefile {{.ImportPath}}={{.Export}}{{end}}"
    packages = _ask([go, "list", "-export", "-f", form, "std"], settings).splitlines()
    tools = _ask([go, "env", "GOTOOLDIR"], settings)
    root = _ask([go, "env", "GOROOT"], settings)
    archives = [line.partition("=")[2] for line in packages]
    libraries = [folder for folder in (str(cache), f"{root}/pkg") if any(path.startswith(f"{folder}/") for path in archives)]
    own = ["packagefile github.com/stretchr/testify/assert=assert.a", "packagefile candidate=candidate.a"]
    compiler = [f"{tools}/compile", "-complete", "-importcfg", "packages", "-p"]
    return Toolchain(
        show=[tools, *libraries],
        build=[
            [*compiler, "github.com/stretchr/testify/assert", "-o", "assert.a", "assert.go"],
            [*compiler, "candidate", "-o", "candidate.a", "candidate.go", "tests.go"],
            [*compiler, "main", "-o", "main.a", "main.go"],
            [f"{tools}/link", "-importcfg", "packages", "-s", "-w", "-o", "program", "main.a"],
        ],
        run=["./program"],
        memory_mb=2048,  # its runtime reserves 700 MB of address space at its start, and 64 MB at a time after that
        environment={"GOMAXPROCS": "2"},
        files={"packages": "\n".join([*packages, *own]) + "\n"},
    )


def _cpp() -> Toolchain:
    compiler = _find("g++", "cpp", "g++")
    folders = [line[1:] for line in _ask([compiler, "-xc++", "-E", "-v", "/dev/null"]).splitlines() if line.startswith(" /")]
    headers = [os.path.realpath(folder) for folder in folders if os.path.isdir(folder)]
    md5 = os.path.isabs(_ask([compiler, "-print-file-name=libcrypto.so"]))  # one of the problems needs it
    libraries = ["-Wl,--as-needed", "-lcrypto"] if md5 else []
    # A function that returns nothing gives what a register happens to hold: an empty answer was seen to pass.
    missing_return = ["-fsanitize=return", "-fsanitize-undefined-trap-on-error"]
    return Toolchain(
        show=[*_linker(compiler), *headers],
        build=[[compiler, "-std=c++11", "-O0", "-w", *missing_return, "-o", "program", "program.cpp", *libraries]],
        run=["./program"],
        memory_mb=512,
        environment={"PATH": "/usr/bin:/bin"},
    )


def _rust() -> Toolchain:
    found = shutil.which("rustc")
    linker = shutil.which("gcc") or shutil.which("cc")
    if found is None or linker is None:
        missing = "rustc" if found is None else "gcc (rustc's linker)"
        raise UserError(f"rust: {missing} is not on the PATH: install it (`apt install rustc gcc`)")
    linker = os.path.realpath(linker)
    home = _ask([found, "--print", "sysroot"])
    options = ["--edition", "2021", "--test", "--cap-lints", "allow", "-C", "codegen-units=1", "-C", "debuginfo=0"]
    libraries = f"{home}/lib" if home != "/usr" else "/usr/lib/rustlib"
    return Toolchain(
        show=[os.path.realpath(f"{home}/bin/rustc"), libraries, *_linker(linker)],
        # Without /proc it finds its libraries beside the link that it was started by.
        build=[["rust/bin/rustc", "--sysroot", home, *options, "-C", f"linker={linker}", "-o", "program", "program.rs"]],
        run=["./program", "--test-threads=1"],
        memory_mb=1024,
        environment={"PATH": "/usr/bin:/bin", "LD_LIBRARY_PATH": f"{home}/lib"},
        links={"rust/bin/rustc": os.path.realpath(f"{home}/bin/rustc"), "rust/lib": f"{home}/lib"},
    )


_FIND: dict[str, Callable[[], Toolchain]] = {"javascript": _javascript, "java": _java, "go": _go, "cpp": _cpp, "rust": _rust}
_WORKING = {
    "javascript": ("const f = (x) => x + 1;", "console.assert(f(1) === 2);"),
    "java": (
        "class Solution { int f(int x) { return x + 1; } }",
        "public class Main { public static void main(String[] a) { if (new Solution().f(1) != 2) throw new AssertionError(); } }",
    ),
    "go": (
        "func F(x int) int { return x + 1 }",
        'import "testing"\nfunc TestF(t *testing.T) { if F(1) != 2 { t.Fail() } }',
    ),
    "cpp": ("int f(int x) { return x + 1; }", "#include <assert.h>\nint main() { assert(f(1) == 2); }"),
    "rust": ("fn f(x: i32) -> i32 { x + 1 }", "#[cfg(test)]\nmod tests {\n#[test]\nfn f() { assert_eq!(super::f(1), 2); }\n}"),
}


@functools.cache
def toolchain(language: str) -> Toolchain:
    """The language's toolchain, tried once a process. Raises UserError where it is missing or does not work in the sandbox."""
    found = _FIND[language]()
    (result,) = _run(language, found, [_WORKING[language]], ["works"], TIMEOUT_S, 1, silent)
    if result.stdout != "works":
        lines = result.stderr.strip().splitlines() or [f"exit code {result.exit_code}"]
        raise UserError(f"{language}: {found.show[0]} does not work in the sandbox ({lines[0][:200]}): try a newer version of it")
    return found


def passes(
    language: str,
    candidates: Sequence[tuple[str, str]],
    timeout_s: float = TIMEOUT_S,
    workers: int | None = None,
    progress: Progress = silent,
) -> list[bool]:
    """Whether each (code, tests) passes, in "python" or a language of `programs.py`, which says what tests look like.

    A pass is a random token that the program copies after its last test, as for `code_tests.passes`. Guarded: what does not
    build, leaving early, prints, a test that fails or was never reached. Not guarded: code that reads the token itself from its
    stdin, or redefines what the tests are made of (macros of C++, JSON.stringify); candidates and tests share one process.
    Nothing that a candidate does leaves the jail or reaches another candidate's verdict.

    Raises UserError where the compiler is missing or does not work in the sandbox, and where there is no sandbox.
    """
    if language == "python":
        return code_tests.passes(candidates, timeout_s=timeout_s, workers=workers, progress=progress)
    if not candidates:
        return []
    tokens = [secrets.token_hex(16) for _ in candidates]
    results = _run(language, toolchain(language), candidates, tokens, timeout_s, workers, progress)
    return [result.stdout == token for result, token in zip(results, tokens, strict=True)]


def _run(
    language: str,
    tools: Toolchain,
    candidates: Sequence[tuple[str, str]],
    tokens: Sequence[str],
    timeout_s: float,
    workers: int | None,
    progress: Progress,
) -> list[Result]:
    requests = [
        {
            "files": SOURCES[language](code, tests) | dict(tools.files),
            "links": dict(tools.links),
            "build": tools.build,
            "run": tools.run,
            "environment": dict(tools.environment),
            "token": token,
        }
        for (code, tests), token in zip(candidates, tokens, strict=True)
    ]
    prelude = Path(build_and_run.__file__).read_text(encoding="utf-8")
    stdins = [json.dumps(request) for request in requests]
    return run_many(
        ["main()"] * len(stdins),
        stdins,
        timeout_s,
        tools.memory_mb,
        workers,
        prelude,
        show=_outermost(tools.show),
        progress=progress,
    )


def _outermost(paths: Sequence[str]) -> list[str]:
    """The paths that lie in no other of them: nsjail cannot mount one inside another that is read only."""
    return [path for path in dict.fromkeys(paths) if not any(path.startswith(f"{other}/") for other in paths)]


def _find(program: str, language: str, package: str) -> str:
    """The path of a program's own file."""
    found = shutil.which(program)
    if found is None:
        raise UserError(f"{language}: {program} is not on the PATH: install it (`apt install {package}`)")
    return os.path.realpath(found)


def _linker(compiler: str) -> list[str]:
    """What a compiler of GNU's needs beside its headers: itself, its own folder, assembler and linker."""
    own = os.path.dirname(os.path.realpath(_ask([compiler, "-print-prog-name=collect2"])))
    tools = [shutil.which(_ask([compiler, f"-print-prog-name={name}"])) for name in ("as", "ld")]
    return [compiler, own, *(path for path in tools if path)]


def _ask(command: Sequence[str], settings: Mapping[str, str] | None = None) -> str:
    """What a compiler says about itself, on this machine and outside the sandbox."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **(settings or {})},
    )
    text = done.stdout.decode(errors="replace").strip()
    if done.returncode != 0:
        raise UserError(f"{' '.join(command[:3])}: {(text.splitlines() or ['it failed'])[-1]}")
    return text
