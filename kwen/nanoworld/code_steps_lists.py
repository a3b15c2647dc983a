"""The steps on lists of numbers: which to keep, what to make of each, in which order, and one value out of all."""

from collections.abc import Callable
from itertools import accumulate, groupby, pairwise
from math import gcd, prod
from typing import Any, NamedTuple

from kwen.nanoworld.code_step import HELPERS, Kind, Step

_NATURAL, _WIDE, _POSITIVE = frozenset({"natural"}), frozenset({"natural", "wide"}), frozenset({"natural", "positive", "wide"})


class _Test(NamedTuple):
    """A condition on a number `x`, and what a number is that meets it."""

    name: str
    python: str
    javascript: str
    run: Callable[[int, int], bool]
    english: str
    chinese: str
    numbers: tuple[int, ...] = ()
    helper: str = ""
    wants: frozenset[str] = frozenset()


class _Change(NamedTuple):
    """What is made of a number `x`."""

    name: str
    python: str
    javascript: str
    run: Callable[[int, int], int]
    english: tuple[str, ...]
    chinese: tuple[str, ...]
    numbers: tuple[int, ...] = ()
    helper: str = ""
    wants: frozenset[str] = frozenset()


_BOUNDS = tuple(range(2, 13))
_SMALL = tuple(range(2, 8))
_TESTS = (
    _Test("above", "x > {k}", "x > {k}", lambda x, k: x > k, "above {k}", "大于 {k} 的", _BOUNDS),
    _Test("below", "x < {k}", "x < {k}", lambda x, k: x < k, "below {k}", "小于 {k} 的", _BOUNDS),
    _Test("at_least", "x >= {k}", "x >= {k}", lambda x, k: x >= k, "of at least {k}", "不小于 {k} 的", _BOUNDS),
    _Test("at_most", "x <= {k}", "x <= {k}", lambda x, k: x <= k, "of at most {k}", "不大于 {k} 的", _BOUNDS),
    _Test("even", "x % 2 == 0", "x % 2 === 0", lambda x, k: x % 2 == 0, "that are even", "是偶数的"),
    _Test("odd", "x % 2 != 0", "x % 2 !== 0", lambda x, k: x % 2 != 0, "that are odd", "是奇数的"),
    _Test("positive", "x > 0", "x > 0", lambda x, k: x > 0, "that are positive", "是正数的"),
    _Test("negative", "x < 0", "x < 0", lambda x, k: x < 0, "that are negative", "是负数的"),
    _Test("divisible", "x % {k} == 0", "x % {k} === 0", lambda x, k: x % k == 0, "divisible by {k}", "能被 {k} 整除的", tuple(range(3, 8))),
    _Test("undivided", "x % {k} != 0", "x % {k} !== 0", lambda x, k: x % k != 0, "not divisible by {k}", "不能被 {k} 整除的", tuple(range(3, 8))),
    _Test("unequal", "x != {k}", "x !== {k}", lambda x, k: x != k, "other than {k}", "不等于 {k} 的", _SMALL),
    _Test("ends_in", "x % 10 == {k}", "x % 10 === {k}", lambda x, k: x % 10 == k, "that end in {k}", "个位是 {k} 的", tuple(range(1, 10)), "", _WIDE),
    _Test("prime", "is_prime(x)", "isPrime(x)", lambda x, k: HELPERS["prime"].run(x), "that are prime", "是质数的", (), "prime", _NATURAL),
    _Test("mirrored", "is_mirrored(x)", "isMirrored(x)", lambda x, k: HELPERS["mirrored"].run(x), "that read the same backwards", "倒过来读也一样的", (), "mirrored", _WIDE),
)  # fmt: skip
_CHANGES = (
    _Change("add", "x + {k}", "x + {k}", lambda x, k: x + k, ("adds {k} to each",), ("把每个数加 {k}",), _BOUNDS),
    _Change("subtract", "x - {k}", "x - {k}", lambda x, k: x - k, ("takes {k} from each",), ("把每个数减 {k}",), _BOUNDS),
    _Change("times", "x * {k}", "x * {k}", lambda x, k: x * k, ("multiplies each by {k}",), ("把每个数乘以 {k}",), tuple(range(2, 10))),
    _Change("from", "{k} - x", "{k} - x", lambda x, k: k - x, ("takes each from {k}",), ("用 {k} 减每个数",), _BOUNDS),
    _Change("halve", "x // 2", "Math.floor(x / 2)", lambda x, k: x // 2, ("halves each, rounded down",), ("把每个数减半并向下取整",)),
    _Change("square", "x * x", "x * x", lambda x, k: x * x, ("squares each",), ("求每个数的平方",)),
    _Change("cube", "x ** 3", "x ** 3", lambda x, k: x**3, ("cubes each",), ("求每个数的立方",)),
    _Change("negate", "-x", "-x", lambda x, k: -x, ("changes the sign of each",), ("改变每个数的正负号",)),
    _Change("absolute", "abs(x)", "Math.abs(x)", lambda x, k: abs(x), ("takes the absolute value of each",), ("求每个数的绝对值",)),
    _Change("remainder", "x % {k}", "x % {k}", lambda x, k: x % k, ("takes the remainder of each by {k}",), ("求每个数除以 {k} 的余数",), tuple(range(3, 10)), "", _NATURAL),
    _Change("last_digit", "x % 10", "x % 10", lambda x, k: x % 10, ("takes the last digit of each",), ("取每个数的个位",), (), "", _WIDE),
    _Change("length", "len(str(x))", "String(x).length", lambda x, k: len(str(x)), ("takes the number of digits of each",), ("求每个数的位数",), (), "", _WIDE),
    _Change("digit_sum", "digit_sum(x)", "digitSum(x)", lambda x, k: HELPERS["digit_sum"].run(x), ("takes the digit sum of each",), ("求每个数各位数字的和",), (), "digit_sum", _WIDE),
    _Change("gcd", "gcd(x, {k})", "gcd(x, {k})", lambda x, k: gcd(x, k), ("takes the greatest common divisor of each with {k}",), ("求每个数和 {k} 的最大公约数",), (6, 8, 10, 12, 18, 24), "gcd", _POSITIVE),
)  # fmt: skip


def _keep(test: _Test) -> Step:
    english = (f"keeps the numbers {test.english}", f"picks the numbers {test.english}")
    return Step(
        f"keep_{test.name}", "keep", "list", "list", f"[x for x in {{v}} if {test.python}]", f"{{v}}.filter((x) => {test.javascript})",
        lambda v, k: [x for x in v if test.run(x, k)], english, (f"只留下{test.chinese}数", f"取出{test.chinese}数"),
        test.numbers, test.helper, wants=test.wants, weight=1 + bool(test.helper),
    )  # fmt: skip


def _quantified(test: _Test, word: str) -> Step:
    every = word == "all"
    english = (f"checks whether all numbers are ones {test.english}",) if every else (f"checks whether there are numbers {test.english}",)
    chinese = (f"判断是不是全都是{test.chinese}数",) if every else (f"判断有没有{test.chinese}数",)
    return Step(
        f"{word}_{test.name}", "ask", "list", "truth", f"{word}({test.python} for x in {{v}})",
        f"{{v}}.{'every' if every else 'some'}((x) => {test.javascript})",
        lambda v, k: (all if every else any)(test.run(x, k) for x in v), english, chinese,
        test.numbers, test.helper, wants=test.wants, weight=1 + bool(test.helper),
    )  # fmt: skip


def _change(change: _Change) -> Step:
    return Step(
        f"each_{change.name}", "change", "list", "list", f"[{change.python} for x in {{v}}]", f"{{v}}.map((x) => {change.javascript})",
        lambda v, k: [change.run(x, k) for x in v], change.english, change.chinese, change.numbers, change.helper,
        wants=change.wants, weight=1 + bool(change.helper),
    )  # fmt: skip


def _order(name: str, python: str, javascript: str, run: Callable[[Any, int], Any], english: tuple[str, ...], chinese: tuple[str, ...],
           numbers: tuple[int, ...] = (), group: str = "order") -> Step:  # fmt: skip
    return Step(name, group, "list", "list", python, javascript, run, english, chinese, numbers)


def _loop(name: str, group: str, gives: Kind, python: tuple[str, ...], javascript: tuple[str, ...], run: Callable[[Any, int], Any],
          english: tuple[str, ...], chinese: tuple[str, ...], weight: int = 1) -> Step:  # fmt: skip
    """A step with a running state: the lines before, and last the expression."""
    before = (python[:-1], javascript[:-1])
    return Step(name, group, "list", gives, python[-1], javascript[-1], run, english, chinese, before=before, weight=weight)


def _fold(name: str, python: str, javascript: str, run: Callable[[Any, int], Any], english: tuple[str, ...], chinese: tuple[str, ...],
          numbers: tuple[int, ...] = (), gives: Kind = "number", group: str = "fold") -> Step:  # fmt: skip
    return Step(name, group, "list", gives, python, javascript, run, english, chinese, numbers)


def _without_neighbours(values: list[int]) -> list[int]:
    return [value for value, _ in groupby(values)]


def _alternating(values: list[int]) -> int:
    return sum(value if place % 2 == 0 else -value for place, value in enumerate(values))


LIST_STEPS: tuple[Step, ...] = (
    *(_keep(test) for test in _TESTS),
    *(_quantified(test, word) for test in _TESTS for word in ("any", "all") if test.name in ("above", "below", "even", "negative", "divisible", "prime")),
    *(_change(change) for change in _CHANGES),
    _order("sort", "sorted({v})", "[...{v}].sort((a, b) => a - b)", lambda v, k: sorted(v), ("sorts them", "puts them in rising order"), ("从小到大排序",)),
    _order("sort_down", "sorted({v}, reverse=True)", "[...{v}].sort((a, b) => b - a)", lambda v, k: sorted(v, reverse=True), ("sorts them from large to small", "puts them in falling order"), ("从大到小排序",)),
    _order("reverse", "{v}[::-1]", "[...{v}].reverse()", lambda v, k: v[::-1], ("reverses their order", "turns the list around"), ("把顺序倒过来",)),
    _order("once", "list(dict.fromkeys({v}))", "[...new Set({v})]", lambda v, k: list(dict.fromkeys(v)), ("leaves out repeats", "keeps each value once"), ("去掉重复的数",)),
    _order("first", "{v}[:{k}]", "{v}.slice(0, {k})", lambda v, k: v[:k], ("takes the first {k}",), ("取前 {k} 个",), (2, 3, 4), "cut"),
    _order("skip", "{v}[{k}:]", "{v}.slice({k})", lambda v, k: v[k:], ("leaves out the first {k}",), ("去掉前 {k} 个",), (1, 2, 3), "cut"),
    _order("second", "{v}[::2]", "{v}.filter((x, i) => i % 2 === 0)", lambda v, k: v[::2], ("takes every second one, beginning with the first",), ("从第一个起每隔一个取一个",), (), "cut"),
    _order("rotate", "{v}[{k}:] + {v}[:{k}]", "[...{v}.slice({k}), ...{v}.slice(0, {k})]", lambda v, k: v[k:] + v[:k], ("moves the first {k} to the end",), ("把前 {k} 个移到最后",), (1, 2, 3), "cut"),
    _order("append", "{v} + [{k}]", "[...{v}, {k}]", lambda v, k: [*v, k], ("puts {k} at the end",), ("在最后加上 {k}",), _BOUNDS, "cut"),
    _order("differences", "[b - a for a, b in zip({v}, {v}[1:])]", "{v}.slice(1).map((x, i) => x - {v}[i])", lambda v, k: [b - a for a, b in pairwise(v)], ("takes the differences of neighbours",), ("求相邻两数的差",), (), "state"),
    _loop("running_sums", "state", "list", ("total, sums = 0, []", "for x in {v}:", "    total += x", "    sums.append(total)", "sums"),
          ("let total = 0;", "const sums = [];", "for (const x of {v}) {", "  total += x;", "  sums.push(total);", "}", "sums"),
          lambda v, k: list(accumulate(v)), ("takes the running sums",), ("求逐步累加的和",)),
    _loop("running_largest", "state", "list", ("tops = []", "for x in {v}:", "    tops.append(max(tops[-1], x) if tops else x)", "tops"),
          ("const tops = [];", "for (const x of {v}) {", "  tops.push(tops.length ? Math.max(tops.at(-1), x) : x);", "}", "tops"),
          lambda v, k: list(accumulate(v, max)), ("takes the largest number so far at each place",), ("求到每个位置为止的最大数",)),
    _loop("collapse", "state", "list", ("kept = []", "for x in {v}:", "    if not kept or kept[-1] != x:", "        kept.append(x)", "kept"),
          ("const kept = [];", "for (const x of {v}) {", "  if (!kept.length || kept.at(-1) !== x) kept.push(x);", "}", "kept"),
          lambda v, k: _without_neighbours(v), ("leaves out numbers equal to the one before",), ("去掉和前一个相等的数",)),
    _loop("runs", "algorithm", "list", ("runs, last = [], None", "for x in {v}:", "    if x == last:", "        runs[-1] += 1", "    else:", "        runs.append(1)", "    last = x", "runs"),
          ("const runs = [];", "let last = null;", "for (const x of {v}) {", "  if (x === last) runs[runs.length - 1] += 1;", "  else runs.push(1);", "  last = x;", "}", "runs"),
          lambda v, k: [len(list(run)) for _, run in groupby(v)], ("takes the lengths of the runs of equal numbers",), ("求每段相等的数的长度",), 2),
    _loop("bubble", "algorithm", "list", ("rows = list({v})", "for i in range(len(rows) - 1):", "    if rows[i] > rows[i + 1]:", "        rows[i], rows[i + 1] = rows[i + 1], rows[i]", "rows"),
          ("const rows = [...{v}];", "for (let i = 0; i < rows.length - 1; i++) {", "  if (rows[i] > rows[i + 1]) {", "    [rows[i], rows[i + 1]] = [rows[i + 1], rows[i]];", "  }", "}", "rows"),
          lambda v, k: _bubbled(v), ("does one pass of bubble sort",), ("做一遍冒泡排序",), 2),
    _fold("sum", "sum({v})", "{v}.reduce((a, x) => a + x, 0)", lambda v, k: sum(v), ("adds them up", "takes the sum"), ("求和", "全部相加")),
    _fold("count", "len({v})", "{v}.length", lambda v, k: len(v), ("counts them", "takes their number"), ("数有几个",)),
    _fold("largest", "max({v}, default=0)", "{v}.length ? Math.max(...{v}) : 0", lambda v, k: max(v, default=0), ("takes the largest, or 0 if there is none",), ("取最大的数，没有时取 0",)),
    _fold("smallest", "min({v}, default=0)", "{v}.length ? Math.min(...{v}) : 0", lambda v, k: min(v, default=0), ("takes the smallest, or 0 if there is none",), ("取最小的数，没有时取 0",)),
    _fold("occurrences", "{v}.count({k})", "{v}.filter((x) => x === {k}).length", lambda v, k: v.count(k), ("counts how often {k} is there",), ("数 {k} 出现几次",), _SMALL),
    _loop("product", "fold", "number", ("result = 1", "for x in {v}:", "    result *= x", "result"),
          ("let result = 1;", "for (const x of {v}) {", "  result *= x;", "}", "result"), lambda v, k: prod(v), ("multiplies them all",), ("全部相乘",)),
    _loop("alternating", "fold", "number", ("result, sign = 0, 1", "for x in {v}:", "    result += sign * x", "    sign = -sign", "result"),
          ("let result = 0;", "let sign = 1;", "for (const x of {v}) {", "  result += sign * x;", "  sign = -sign;", "}", "result"),
          lambda v, k: _alternating(v), ("adds and subtracts them in turn",), ("轮流加减",)),
    _loop("longest_run", "algorithm", "number", ("best, length, last = 0, 0, None", "for x in {v}:", "    length = length + 1 if x == last else 1", "    best, last = max(best, length), x", "best"),
          ("let best = 0;", "let length = 0;", "let last = null;", "for (const x of {v}) {", "  length = x === last ? length + 1 : 1;", "  best = Math.max(best, length);", "  last = x;", "}", "best"),
          lambda v, k: max((len(list(run)) for _, run in groupby(v)), default=0), ("takes the length of the longest run of equal numbers",), ("求最长一段相等的数的长度",), 2),
    Step("gcd_all", "algorithm", "list", "number", "result", "result", lambda v, k: gcd(*v), ("takes their greatest common divisor",), ("求它们的最大公约数",),
         helper="gcd", before=(("result = 0", "for x in {v}:", "    result = gcd(x, result)"), ("let result = 0;", "for (const x of {v}) {", "  result = gcd(x, result);", "}")), wants=_POSITIVE, weight=2),
    _fold("rising", "{v} == sorted({v})", "{v}.every((x, i) => i === 0 || {v}[i - 1] <= x)", lambda v, k: v == sorted(v), ("checks whether they are in rising order",), ("判断是不是从小到大排好的",), (), "truth", "ask"),
    _fold("repeats", "len(set({v})) < len({v})", "new Set({v}).size < {v}.length", lambda v, k: len(set(v)) < len(v), ("checks whether any number is there twice",), ("判断有没有重复的数",), (), "truth", "ask"),
    _fold("dashes", '"-".join(str(x) for x in {v})', '{v}.join("-")', lambda v, k: "-".join(map(str, v)), ("joins them with dashes",), ("用横线连起来",), (), "text", "write"),
)  # fmt: skip


def _bubbled(values: list[int]) -> list[int]:
    rows = list(values)
    for i in range(len(rows) - 1):
        if rows[i] > rows[i + 1]:
            rows[i], rows[i + 1] = rows[i + 1], rows[i]
    return rows


def _merged(left: list[int], right: list[int]) -> list[int]:
    return sorted(left + right)


PAIR_STEPS: tuple[Step, ...] = (
    Step("merge", "pair", "pair", "list", "merged + {p}[i:] + {q}[j:]", "[...merged, ...{p}.slice(i), ...{q}.slice(j)]",
         lambda v, k: _merged(*v), ("merges the two sorted lists",), ("合并两个有序的列表",), wants=frozenset({"sorted"}), weight=2,
         before=(("merged, i, j = [], 0, 0", "while i < len({p}) and j < len({q}):", "    if {p}[i] <= {q}[j]:", "        merged.append({p}[i])", "        i += 1",
                  "    else:", "        merged.append({q}[j])", "        j += 1"),
                 ("const merged = [];", "let i = 0;", "let j = 0;", "while (i < {p}.length && j < {q}.length) {", "  if ({p}[i] <= {q}[j]) merged.push({p}[i++]);",
                  "  else merged.push({q}[j++]);", "}"))),
    Step("common", "pair", "pair", "list", "[x for x in {p} if x in {q}]", "{p}.filter((x) => {q}.includes(x))", lambda v, k: [x for x in v[0] if x in v[1]],
         ("takes the numbers of the first that are also in the second",), ("取第一个里也在第二个里的数",)),
    Step("missing", "pair", "pair", "list", "[x for x in {p} if x not in {q}]", "{p}.filter((x) => !{q}.includes(x))", lambda v, k: [x for x in v[0] if x not in v[1]],
         ("takes the numbers of the first that are not in the second",), ("取第一个里不在第二个里的数",)),
    Step("joined", "pair", "pair", "list", "{p} + {q}", "[...{p}, ...{q}]", lambda v, k: v[0] + v[1], ("puts the second behind the first",), ("把第二个接在第一个后面",)),
    Step("pair_sums", "pair", "pair", "list", "[a + b for a, b in zip({p}, {q})]", "{p}.slice(0, {q}.length).map((x, i) => x + {q}[i])",
         lambda v, k: [a + b for a, b in zip(*v, strict=False)], ("adds them place by place, up to the shorter one",), ("按位置相加，到较短的为止",)),
    Step("pair_products", "pair", "pair", "list", "[a * b for a, b in zip({p}, {q})]", "{p}.slice(0, {q}.length).map((x, i) => x * {q}[i])",
         lambda v, k: [a * b for a, b in zip(*v, strict=False)], ("multiplies them place by place, up to the shorter one",), ("按位置相乘，到较短的为止",)),
)  # fmt: skip
