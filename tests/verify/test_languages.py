"""Candidates in compiled languages: what passes, what does not, and what the compilers of hostile ones are kept from."""

import time

import pytest

from kwen.errors import UserError
from kwen.verify import languages
from kwen.verify.programs import SOURCES, close_braces

TESTS = {
    "javascript": "console.assert(f(2) === 4)\nconsole.assert(f(3) === 9)",
    "java": "public class Main { public static void main(String[] a) {\n"
    "if (new Solution().f(2) != 4 || new Solution().f(3) != 9) throw new AssertionError(); } }",
    "go": 'package main\nimport "testing"\nfunc TestF(t *testing.T) { if f(2) != 4 || f(3) != 9 { t.Fail() } }',
    "cpp": "#undef NDEBUG\n#include<assert.h>\nint main(){ assert(f(2) == 4); assert(f(3) == 9); }",
    "rust": "#[cfg(test)]\nmod tests {\n use super::*;\n #[test]\n fn test_f() { assert_eq!(f(2), 4); assert_eq!(f(3), 9); }\n}",
}
RIGHT = {
    "javascript": {
        "function": "function f(x) { return x * x; }",
        "prints": 'const f = (x) => { console.log("noise"); return x * x; };',
        "requires": 'const { pow } = Math; require("node:path"); const f = (x) => pow(x, 2);',
        "leaves_a_timer": "setInterval(() => {}, 1000); const f = (x) => x * x;",
    },
    "java": {
        "class": "class Solution { int f(int x) { return x * x; } }",
        "public_class": "import java.util.*;\npublic class Solution {\n"
        "public static int f(int x) { System.out.println(x); return x * x; } }",
        "own_main": "class Solution { int f(int x) { return x * x; } }\n"
        "public class Main { public static void main(String[] a) { int b; } }",
        "annotation": "class Solution { @Deprecated @SuppressWarnings({}) int f(int x) { return x * x; } }",
        "leaves_a_thread": "class Solution { int f(int x) { new Thread(() -> { while (true); }).start(); return x * x; } }",
    },
    "go": {
        "function": "func f(x int) int { return x * x }",
        "unused_import": 'package main\nimport (\n"math"\n"os"\n)\nfunc f(x int) int { return int(math.Pow(float64(x), 2)) }',
        "forgotten_import": "func f(x int) int { fmt.Println(x); return x * x }",
        "own_main": "package main\nfunc f(x int) int { return x * x }\nfunc main() {}",
        "aliased": 'import m "math"\nfunc f(x int) int { return int(m.Pow(float64(x), 2)) }',
    },
    "cpp": {
        "function": "int f(int x) { return x * x; }",
        "sees_no_host": '#if __has_include("/etc/passwd")\nint f(int x);\n#else\nint f(int x) { return x * x; }\n#endif',
        "headers": "vector<int> v; int f(int x) { cout << x; return (int)pow(x, 2); }",
        "own_main": "int f(int x) { return x * x; }\n\nint main() { return 0; }",
    },
    "rust": {
        "function": "fn main(){}\nfn f(x: i32) -> i32 { x * x }",
        "absent_crates_unused": "use rand::Rng;\nuse regex::Regex;\nuse md5;\nfn f(x: i32) -> i32 { x * x }",
        "prints": 'fn f(x: i32) -> i32 { println!("{x}"); x * x }',
    },
}
WRONG = {
    "javascript": {
        "wrong": "const f = (x) => x + 2;",
        "empty": "",
        "leaves": "process.exit(0);",
        "leaves_later": "const f = (x) => process.exit(0);",
        "replaces_assert": "console.assert = () => {}; const f = () => 0;",
        "replaces_console": "globalThis.console = { assert() {} }; const f = () => 0;",
        "raises": 'const f = () => { throw new Error("x"); };',
        "loops": "const f = () => { for (;;); };",
        "reads_the_host": 'require("fs").readFileSync("/etc/passwd"); const f = (x) => x * x;',
    },
    "java": {
        "wrong": "class Solution { int f(int x) { return x + 2; } }",
        "not_java": "Sure, here it is:",
        "leaves": "class Solution { static { System.exit(0); } int f(int x) { return 0; } }",
        "halts": "class Solution { int f(int x) { Runtime.getRuntime().halt(0); return 0; } }",
        "loops": "class Solution { int f(int x) { while (true); } }",
        "reads_the_host": "class Solution { int f(int x) throws Exception { "
        'java.nio.file.Files.readString(java.nio.file.Path.of("/etc/passwd")); return x * x; } }',
        "eats_memory": "class Solution { int f(int x) { var all = new java.util.ArrayList<long[]>(); "
        "while (true) all.add(new long[1 << 20]); } }",
        "starts_a_shell": "class Solution { int f(int x) throws Exception { "
        'new ProcessBuilder("/bin/sh", "-c", "exit 0").start().waitFor(); return x * x; } }',
    },
    "go": {
        "wrong": "func f(x int) int { return x + 2 }",
        "does_not_build": "func f(x int) int { return y }",
        "leaves": "func init() { os.Exit(0) }\nfunc f(x int) int { return 0 }",
        "leaves_with_import": 'import "os"\nfunc init() { os.Exit(0) }\nfunc f(x int) int { return 0 }',
        "goroutine_ends": 'import "runtime"\nfunc f(x int) int { runtime.Goexit(); return 0 }',
        "panics": 'func f(x int) int { panic("x") }',
        "loops": "func f(x int) int { for {} }",
        "calls_c": '// #include <stdlib.h>\nimport "C"\nfunc f(x int) int { C.exit(0); return 0 }',
        "reads_the_host": 'import "os"\n'
        'func f(x int) int { _, e := os.ReadFile("/etc/passwd"); if e != nil { panic(e) }; return x * x }',
    },
    "cpp": {
        "wrong": "int f(int x) { return x + 2; }",
        "returns_nothing": "int f(int x) { x *= x; }",
        "leaves": "int f(int x) { exit(0); }",
        "leaves_before": "struct A { A() { _Exit(0); } } a; int f(int x) { return 0; }",
        "undoes_assert": "#define NDEBUG\n#define assert(x)\nint f(int x) { return 0; }",
        "prints_much": 'int f(int x) { for (int i = 0; i < 9999999; i++) puts("token"); exit(0); }',
        "includes_the_host": '#include "/etc/passwd"\nint f(int x) { return x * x; }',
        "includes_without_end": '#include "/dev/zero"\nint f(int x) { return x * x; }',
        "assembles_the_host": 'asm(".incbin \\"/etc/passwd\\"");\nint f(int x) { return x * x; }',
        "templates_without_end": "template<int A, int B> struct T {\n"
        "static const int v = T<A, B - 1>::v + T<A + 1, B - 1>::v; };\n"
        "template<int A> struct T<A, 0> { static const int v = 1; };\nint g = T<0, 800>::v;\nint f(int x) { return x * x; }",
        "huge_program": "char huge[1 << 30] = {1};\nint f(int x) { return x * x; }",
        "forks": "#include <unistd.h>\nint f(int x) { while (true) fork(); }",
    },
    "rust": {
        "wrong": "fn f(x: i32) -> i32 { x + 2 }",
        "leaves": "fn f(x: i32) -> i32 { std::process::exit(0) }",
        "prints_a_pass": 'fn f(x: i32) -> i32 { println!("test result: ok. 2 passed"); 0 }',
        "includes_the_host": 'const P: &str = include_str!("/etc/passwd");\nfn f(x: i32) -> i32 { x * x }',
        "computes_without_end": "const fn spin() -> i32 { let mut x = 0; loop { x = 1 - x; } }\nconst Z: i32 = spin();\n"
        "fn f(x: i32) -> i32 { x * x + Z }",
        "absent_crate": "use regex::Regex;\nfn f(x: i32) -> i32 { Regex::new(\"a\"); x * x }",
    },
}  # fmt: skip


def needs(language: str) -> None:
    """Skip with one line where the compiler, or a sandbox, is absent."""
    try:
        languages.toolchain(language)
    except UserError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("language", RIGHT)
def test_right_code_passes(language: str) -> None:
    needs(language)
    cases = RIGHT[language]
    verdicts = languages.passes(language, [(code, TESTS[language]) for code in cases.values()])
    assert [name for name, passed in zip(cases, verdicts, strict=True) if not passed] == []


@pytest.mark.parametrize("language", WRONG)
def test_wrong_and_hostile_code_fails_in_its_time_and_harms_no_other(language: str) -> None:
    needs(language)
    cases = {**WRONG[language], "right": next(iter(RIGHT[language].values()))}
    began = time.monotonic()
    verdicts = languages.passes(language, [(code, TESTS[language]) for code in cases.values()], timeout_s=8.0, workers=2)
    assert [name for name, passed in zip(cases, verdicts, strict=True) if passed] == ["right"]
    assert time.monotonic() - began < 10.0 * len(cases), "two side by side, each ended after its time"


def test_no_test_is_no_pass() -> None:
    needs("javascript")
    assert languages.passes("javascript", [("const f = 1;", "")]) == [False]
    assert languages.passes("javascript", []) == []


@pytest.mark.parametrize("language", SOURCES)
def test_a_missing_compiler_is_one_line(language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(UserError, match="is not on the PATH: install it"):
        languages._FIND[language]()


def test_braces_are_counted_outside_of_texts_and_comments() -> None:
    opening = "int f(char c) {"
    body = ' // }\n  if (c == \'}\') { g("}\\""); } /* } */\n}'
    assert close_braces("cpp", opening, body + "\nint g() { return 1; }") == body
    assert close_braces("rust", "fn f<'a>(x: &'a str) -> &'a str {", " x }\n}") == " x }"
    assert close_braces("java", "class Solution { int f() {", " return 1; }") == " return 1; }\n}"
    assert close_braces("go", "func f() int {", " return 1") == " return 1\n}"
    long = "x /* " * 20_000
    began = time.thread_time()
    assert close_braces("cpp", opening, long).endswith("\n}")
    assert time.thread_time() - began < 2.0
