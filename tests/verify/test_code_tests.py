"""Finding code in an answer, and what counts as passing its tests."""

import pytest

from kwen.errors import UserError
from kwen.sandbox import describe
from kwen.verify.code_tests import extract_code, passes

SQUARE = "assert f(2) == 4\nassert f(3) == 9\n"


@pytest.fixture
def sandbox() -> None:
    try:
        describe()
    except UserError as error:
        pytest.skip(str(error))


def test_code_is_found_in_its_fence() -> None:
    block = "def f(x):\n    return x\n"
    assert extract_code(block) == block
    assert extract_code(f"Sure:\n```python\n{block}```\nDone.") == block
    assert extract_code(f"~~~\n{block}~~~") == block
    assert extract_code(f"```py\n{block}") == block, "a fence that is never closed"
    assert extract_code(f"```python\n{block}```\nUse:\n```python\nprint(f(1))\n```") == block
    assert extract_code("- item\n  ```python\n  def f(x):\n      return x\n  ```") == block
    assert extract_code(f"````\n{block}````") == block
    assert extract_code(f"```bash\nls\n```\n```python\n{block}```\n```text\nout\n```") == block
    assert extract_code("```js\nf()\n```") == "f()\n"
    assert extract_code("use `f` and ```inline``` only") == "use `f` and ```inline``` only"


def test_the_last_block_that_defines_the_function_counts() -> None:
    text = "```python\ndef f(): return 1\n```\nBetter:\n```python\ndef f(): return 2\n```\n```python\ndef main(): f()\n```"
    assert extract_code(text, "f") == "def f(): return 2\n"
    assert extract_code(text) == "def main(): f()\n"
    assert extract_code(text, "absent") == "def main(): f()\n"


RIGHT = {
    "plain": ("def f(x): return x * x", SQUARE),
    "imports": ("from typing import List\nimport math\ndef f(x: int) -> List[int]: return [math.isqrt(x)]", "assert f(9) == [3]"),
    "humaneval": (
        "def add(a, b):\n    return a + b",
        "def check(candidate):\n    assert candidate(1, 2) == 3\n    assert candidate(0, 0) != 1\n\ncheck(add)",
    ),
    "own_class": (
        "class V:\n    def __init__(self, x): self.x = x\n    def __eq__(self, other): return self.x == other.x",
        "assert V(1) == V(1)\nassert V(1) != V(2)",
    ),
    "dataclass": ("from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int", "assert P(1) == P(1) and P(1).x == 1"),
    "named_tuple": ("import collections as c\nP = c.namedtuple('P', 'x y')\ndef f(): return P(1, 2)", "assert f() == (1, 2)"),
    "enumeration": ("import enum\nclass C(enum.IntEnum):\n    A = 1\ndef f(): return C.A", "assert f() == 1"),
    "library_types": (
        "from fractions import Fraction\nfrom collections import Counter, OrderedDict\n"
        "def f(): return [Fraction(1, 2), Counter('aab'), OrderedDict(a=1)]",
        "from fractions import Fraction\nassert f() == [Fraction(1, 2), {'a': 2, 'b': 1}, {'a': 1}]",
    ),
    "shadows_by_def": ("def filter(x): return x + 1", "assert filter(1) == 2"),
    "raises": ("def f(): raise ValueError('x')", "try:\n    f()\n    assert False\nexcept ValueError:\n    pass"),
    "prints": ("print('noise' * 10)\ndef f(x):\n    print(x)\n    return x * x", SQUARE),
    "reads_stdin": ("import sys\ntext = sys.stdin.read()\ndef f(x): return x * x if text == '' else 0", SQUARE),
    "main_block": ("def f(x): return x * x\nif __name__ == '__main__':\n    f(input())", SQUARE),
    "thread_left": ("import threading as t, time\nt.Thread(target=time.sleep, args=[9]).start()\ndef f(x): return x * x", SQUARE),
    "own_frame": ("import inspect\ndef f(x): return x * x\nassert 'return x * x' in inspect.getsource(f)", SQUARE),
}

_EQUAL = "class E:\n    def __eq__(self, other): return True\n    def __ne__(self, other): return False\n"

WRONG = {
    "wrong": ("def f(x): return x + 2", SQUARE),
    "empty": ("", SQUARE),
    "not_python": ("Sure, here it is:", SQUARE),
    "leaves_module": ("import sys; sys.exit(0)", SQUARE),
    "leaves_module_hard": ("import os; os._exit(0)", SQUARE),
    "leaves_in_function": ("import os\ndef f(x): os._exit(0)", SQUARE),
    "raises_system_exit": ("def f(x): raise SystemExit(0)", SQUARE),
    "kills_itself": ("import os, signal\ndef f(x): os.kill(os.getpid(), signal.SIGKILL)", SQUARE),
    "prints_marks": ("import os\ndef f(x):\n    print('OK passed 1')\n    os.write(1, b'OK')\n    os._exit(0)", SQUARE),
    "writes_everywhere": (
        "import os\ndef f(x):\n    for fd in range(3, 99):\n        try: os.write(fd, b'0' * 32)\n"
        "        except OSError: pass\n    os._exit(0)",
        SQUARE,
    ),
    "replaces_assertion_error": (
        "import builtins\nclass Quiet(Exception): pass\nbuiltins.AssertionError = Quiet\ndef f(x): return 0", SQUARE
    ),
    "replaces_builtins": (
        "import builtins\nbuiltins.all = lambda values: True\nbuiltins.abs = lambda x: 0\ndef f(x): return 0",
        "assert all(f(x) == x for x in range(3))\nassert abs(f(9) - 9) < 1",
    ),
    "breaks_builtins": ("import builtins\nfor name in ('open', 'compile', 'vars'): delattr(builtins, name)", SQUARE),
    "shadows_builtins": ("all = any = lambda values: True\ndef f(x): return 0", "assert all(f(x) == x for x in range(3))"),
    "replaces_module_function": (
        "import math\nmath.isclose = lambda *a, **k: True\ndef f(): return 0.0", "import math\nassert math.isclose(f(), 1)"
    ),
    "replaces_exit_hooks": (
        "import atexit, os, sys\nsys.excepthook = lambda *a: None\natexit.register(os._exit, 0)\ndef f(x): return 0", SQUARE
    ),
    "replaces_os_write": ("import os\nos.write = lambda *a: 0\nos._exit = lambda *a: None\ndef f(x): return 0", SQUARE),
    "equals_everything": (_EQUAL + "def f(x): return E()", SQUARE),
    "differs_from_nothing": (_EQUAL + "def f(x): return E()", "assert not f(1) != 3"),
    "contains_equal_to_everything": (_EQUAL + "def f(x): return {'a': [E()]}", "assert f(1) == {'a': [3]}"),
    "lying_int": ("class E(int):\n    def __eq__(self, other): return True\ndef f(x): return E(0)", SQUARE),
    "pretends_to_be_builtin": (_EQUAL + "E.__module__ = 'builtins'\nE.__qualname__ = 'int'\ndef f(x): return E()", SQUARE),
    "loops": ("def f(x):\n    while True: pass", SQUARE),
    "eats_memory": ("def f(x): return bytearray(1 << 40)", SQUARE),
    "closes_all": ("import os\nos.closerange(0, 256)\ndef f(x): return x * x + 1", SQUARE),
    "half_right": ("def f(x): return 4", SQUARE),
}


def test_right_code_passes_and_wrong_code_does_not(sandbox: None) -> None:
    cases = {f"right_{name}": case for name, case in RIGHT.items()} | {f"wrong_{name}": case for name, case in WRONG.items()}
    verdicts = dict(zip(cases, passes(list(cases.values()), timeout_s=2.0), strict=True))
    assert {name: passed for name, passed in verdicts.items() if passed != name.startswith("right")} == {}


def test_a_verdict_does_not_depend_on_its_neighbours(sandbox: None) -> None:
    right, wrong = ("def f(x): return x * x", SQUARE), ("import os\ndef f(x): os.kill(-1, 9)", SQUARE)
    assert passes([right, wrong] * 10, workers=2) == [True, False] * 10
    assert passes([]) == []


def test_tests_that_are_not_python_are_the_data_sets_fault() -> None:
    with pytest.raises(UserError, match="candidate 1 are not Python"):
        passes([("x = 1", "assert x == 1"), ("x = 1", "assert x ==")])
