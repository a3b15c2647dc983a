"""The source files of a program: a candidate, its tests, and the trusted lines that copy the token when all tests passed.

    javascript   run.js counts console.assert, loads program.js (candidate, tests), copies the token
    java         Main.java (imports, candidate, tests), and Run.java, which calls Main.main and copies the token
    go           candidate.go, tests.go in one package; main.go runs its Test functions and copies the token
    cpp          program.cpp: common headers, candidate, tests; the token is copied at the end of main
    rust         program.rs: candidate, tests, and a last test that copies the token

Tests are those of HumanEvalPack (Muennighoff et al., 2023), as its own harness joins them, with these differences: JavaScript
may print; an import that Go does not need is dropped instead of refused; Go's `testify/assert` is ours (`Equal` and `True`, all
that the tests use), and so are JavaScript's `js-md5` and the little of Rust's `rand` that tests draw numbers with; Rust's other
crates (regex, md5) do not exist, and what uses them fails.
"""

import re
from collections.abc import Callable

_COMMENTS = r"//[^\n]*|/\*.*?(?:\*/|\Z)"
_RUST_LITERALS = r"|\"(?:[^\"\\]|\\.)*\"?|'(?:[^'\\\n]|\\u\{[^}\n]{0,8}\}|\\x..|\\.)'"
_OTHER_LITERALS = r"|\"(?:[^\"\\\n]|\\.)*\"?|'(?:[^'\\\n]|\\.)*'?|`(?:[^`\\]|\\.)*`?"
_HIDDEN = {rust: re.compile(_COMMENTS + (_RUST_LITERALS if rust else _OTHER_LITERALS), re.DOTALL) for rust in (False, True)}


def hide_literals(language: str, code: str) -> str:
    """The code with a space for each character of its comments, texts and characters, so that a look at braces and names is exact
    but for JavaScript's regular expressions and Rust's raw texts."""
    return _HIDDEN[language == "rust"].sub(lambda found: " " * len(found.group()), code)


def close_braces(language: str, opening: str, text: str) -> str:
    """What continues `opening`, up to the brace that closes the last thing open in it; missing braces are added at the end."""
    code = opening + text
    depth = 0
    for found in re.finditer(r"[{}]", hide_literals(language, code)):
        depth += 1 if found.group() == "{" else -1
        if depth <= 0 and found.end() > len(opening):
            return code[len(opening) : found.end()]
    return text + "\n" + "}" * max(0, depth)


def _javascript(code: str, tests: str) -> dict[str, str]:
    return {"program.js": f"{code}\n{tests}\n", "run.js": _RUN_JS, "node_modules/js-md5/index.js": _MD5_JS}


_RUN_JS = """\
"use strict";
const { readFileSync, writeSync } = require("node:fs");
const { exit } = process;
let asserted = 0, failed = 0;
const assert = (condition) => { asserted += 1; failed += condition ? 0 : 1; };
Object.defineProperty(console, "assert", { value: assert, writable: false, configurable: false });
require("./program.js");
if (asserted > 0 && failed === 0) writeSync(1, readFileSync(0));
exit(0);
"""
_MD5_JS = """\
"use strict";
const { createHash } = require("node:crypto");
module.exports = (text) => createHash("md5").update(text).digest("hex");
"""


def _java(code: str, tests: str) -> dict[str, str]:
    hidden = hide_literals("java", code)
    main = re.search(r"^[ \t]*(?:public[ \t]+)?class[ \t]+Main\b", hidden, re.MULTILINE)
    if main:  # a program around the class, which the tests have one of their own for
        code = code[: main.start()] + code[main.start() + len(close_braces("java", "", code[main.start() :])) :]
    imports = re.findall(r"^[ \t]*import[ \t][^;\n]*;", code, re.MULTILINE)
    rest = re.sub(r"^[ \t]*(?:import|package)[ \t][^;\n]*;", "", code, flags=re.MULTILINE)
    rest = re.sub(
        r"^([ \t]*)public[ \t]+((?:final[ \t]+|abstract[ \t]+)*(?:class|interface|record|enum)\b)", r"\1\2", rest, flags=re.M
    )
    return {"Main.java": "\n".join([*dict.fromkeys(imports), rest, tests]), "Run.java": _RUN_JAVA}


_RUN_JAVA = """\
public class Run {
    public static void main(String[] arguments) throws Exception {
        java.io.InputStream in = System.in;
        java.io.PrintStream out = System.out;
        Main.main(new String[0]);
        out.write(in.readAllBytes());
        out.flush();
        Runtime.getRuntime().halt(0);
    }
}
"""

_GO_IMPORT = re.compile(r'^[ \t]*import[ \t]*(?:\([^)]{0,2000}\)|[^\n("]*"[^"\n]*")[^\n]*', re.MULTILINE)
_GO_SPEC = re.compile(r'(?:([\w.]+)[ \t]+)?"([^"\n]+)"')
# What the published harness adds where a program uses it.
_GO_KNOWN = ("math", "strings", "fmt", "strconv", "time", "bytes", "regexp", "sort", "math/rand", "crypto/md5")


def _go(code: str, tests: str) -> dict[str, str]:
    names = re.findall(r"^func[ \t]+(Test\w+)[ \t]*\(", tests, re.MULTILINE)
    calls = "".join(f"\t\tcandidate.{name}(t)\n" for name in names)
    return {
        "candidate.go": _go_file(code),
        "tests.go": _go_file(tests),
        "assert.go": _ASSERT_GO,
        "main.go": _MAIN_GO.replace("// calls\n", calls),
    }


def _go_file(code: str) -> str:
    """A file of the candidate's package, with those of its imports, and of the known packages, that it uses."""
    specs = [
        (name, path)
        for found in _GO_IMPORT.findall(code)
        for name, path in _GO_SPEC.findall(found.strip().removeprefix("import"))
    ]
    specs += [("", path) for path in _GO_KNOWN if path not in [path for _, path in specs]]
    rest = re.sub(r"^[ \t]*package[ \t]+\w+[^\n]*", "", _GO_IMPORT.sub("", code), flags=re.MULTILINE)
    hidden = hide_literals("go", rest)
    used = set(re.findall(r"(?<![\w.])([A-Za-z_]\w*)[ \t]*\.", hidden))
    wanted = [(name, path) for name, path in specs if name in ("_", ".") or (name or path.rpartition("/")[2]) in used]
    imports = "".join(f'import {name} "{path}"\n' for name, path in dict.fromkeys(wanted))
    return f"package candidate\n\n{imports}{rest}\n"


_ASSERT_GO = """\
package assert

import (
	"bytes"
	"reflect"
	"testing"
)

type Assertions struct{ t *testing.T }

func New(t *testing.T) *Assertions { return &Assertions{t} }

func (a *Assertions) Equal(expected, actual interface{}, message ...interface{}) bool {
	left, isBytes := expected.([]byte)
	right, areBytes := actual.([]byte)
	same := reflect.DeepEqual(expected, actual)
	if isBytes && areBytes && left != nil && right != nil {
		same = bytes.Equal(left, right)
	}
	if !same {
		a.t.Errorf("%v is not %v", actual, expected)
	}
	return same
}

func (a *Assertions) True(value bool, message ...interface{}) bool { return a.Equal(true, value) }
"""
_MAIN_GO = """\
package main

import (
	"candidate"
	"io"
	"os"
	"testing"
)

func main() {
	in, out, passed := os.Stdin, os.Stdout, false
	tests := func(t *testing.T) {
// calls
		passed = !t.Failed()
	}
	token := func(t *testing.T) {
		if passed {
			io.Copy(out, in)
		}
	}
	all := func(pattern, name string) (bool, error) { return true, nil }
	testing.Main(all, []testing.InternalTest{{"Tests", tests}, {"Token", token}}, nil, nil)
}
"""


def _cpp(code: str, tests: str) -> dict[str, str]:
    cut = re.search(r"^[ \t]*(?:int|auto|signed)[ \t\n]+main[ \t]*\(", hide_literals("cpp", code), re.MULTILINE)
    body, _, _ = tests.rstrip().rpartition("}")
    return {"program.cpp": f"{_HEADERS_CPP}{code[: cut.start()] if cut else code}\n{body}{_TOKEN_CPP}}}\n"}


# What the published harness includes; boost where it is.
_HEADERS_CPP = (
    "".join(
        f"#include <{name}>\n"
        for name in (
            *(
                "cstdio",
                "cstdlib",
                "cstring",
                "climits",
                "cmath",
                "algorithm",
                "numeric",
                "string",
                "iostream",
                "sstream",
                "fstream",
            ),
            *("vector", "set", "map", "queue", "stack", "list", "deque"),
        )
    )
    + "#if __has_include(<boost/any.hpp>)\n#include <boost/any.hpp>\n#endif\nusing namespace std;\n"
)
_TOKEN_CPP = """
    char kwen_token[64];
    std::size_t kwen_size = std::fread(kwen_token, 1, sizeof kwen_token, stdin);
    std::fwrite(kwen_token, 1, kwen_size, stdout);
    std::fflush(stdout);
"""


def _rust(code: str, tests: str) -> dict[str, str]:
    known = re.sub(r"^[ \t]*(?:pub[ \t]+)?use[ \t]+(?:regex|md5)\b[^;\n]*;", "", f"{code}\n{tests}", flags=re.MULTILINE)
    return {"program.rs": re.sub(r"\buse[ \t]+rand\b", "use crate::rand", known) + f"\n{_TOKEN_RUST}{_RAND_RUST}"}


# Tests run in the order of their names; the runner exits with another code than 0 if any failed.
_TOKEN_RUST = """
#[cfg(test)]
mod zz_kwen {
    #[test]
    fn token() {
        use std::io::{stdin, stdout, Read, Write};
        let mut token = Vec::new();
        stdin().read_to_end(&mut token).unwrap();
        stdout().write_all(&token).unwrap();
        stdout().flush().unwrap();
    }
}
"""
# Four problems' tests draw numbers. SplitMix64 (Steele, Lea and Flood, 2014): every run draws the same.
_RAND_RUST = """
#[cfg(test)]
mod rand {
    use std::sync::atomic::{AtomicU64, Ordering};
    static STATE: AtomicU64 = AtomicU64::new(1);
    fn bits() -> u64 {
        let mut z = STATE.fetch_add(0x9E3779B97F4A7C15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58476D1CE4E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D049BB133111EB);
        z ^ (z >> 31)
    }
    pub trait Number {
        fn any(bits: u64) -> Self;
        fn within(low: Self, high: Self, bits: u64) -> Self;
    }
    macro_rules! numbers { ($($kind:ty),*) => { $(impl Number for $kind {
        fn any(bits: u64) -> Self { bits as $kind }
        fn within(low: Self, high: Self, bits: u64) -> Self {
            (low as i128 + bits as i128 % (high as i128 - low as i128)) as $kind
        }
    })* } }
    numbers!(u8, i8, u16, i16, u32, i32, u64, i64, usize, isize);
    pub trait Rng {
        fn gen<T: Number>(&mut self) -> T { T::any(bits()) }
        fn gen_range<T: Number>(&mut self, low: T, high: T) -> T { T::within(low, high, bits()) }
    }
    pub struct ThreadRng;
    impl Rng for ThreadRng {}
    pub fn thread_rng() -> ThreadRng { ThreadRng }
    pub fn random<T: Number>() -> T { T::any(bits()) }
}
"""

SOURCES: dict[str, Callable[[str, str], dict[str, str]]] = {
    "javascript": _javascript,
    "java": _java,
    "go": _go,
    "cpp": _cpp,
    "rust": _rust,
}
"""By language: (candidate, tests) -> text by file name."""
