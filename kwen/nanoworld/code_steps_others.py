"""The steps on numbers, texts, lists of words, and dictionaries of counts."""

from collections import Counter
from itertools import groupby
from typing import Any

from kwen.nanoworld.code_step import HELPERS, Step

_BOUNDS = tuple(range(2, 13))


def _collatz(n: int) -> list[int]:
    path = [n]
    while path[-1] > 1:
        path.append(path[-1] // 2 if path[-1] % 2 == 0 else 3 * path[-1] + 1)
    return path


def _fibonacci(count: int) -> list[int]:
    a, b, found = 0, 1, []
    for _ in range(count):
        found.append(a)
        a, b = b, a + b
    return found


NUMBER_STEPS: tuple[Step, ...] = (
    Step("up_to", "unfold", "number", "list", "list(range(1, {v} + 1))", "Array.from({ length: {v} }, (_, i) => i + 1)", lambda v, k: list(range(1, v + 1)),
         ("lists the numbers from 1 to it", "counts from 1 up to it in a list"), ("列出从 1 到它的数",), wants=frozenset({"short"})),
    Step("digits", "unfold", "number", "list", "[int(d) for d in str({v})]", "[...String({v})].map(Number)", lambda v, k: [int(d) for d in str(v)],
         ("lists its digits",), ("列出它的各位数字",), wants=frozenset({"wide", "natural"})),
    Step("divisors", "unfold", "number", "list", "[d for d in range(1, {v} + 1) if {v} % d == 0]", "Array.from({ length: {v} }, (_, i) => i + 1).filter((d) => {v} % d === 0)",
         lambda v, k: [d for d in range(1, v + 1) if v % d == 0], ("lists its divisors",), ("列出它的约数",), wants=frozenset({"positive", "short"})),
    Step("multiples", "unfold", "number", "list", "list(range({k}, {v} + 1, {k}))", "Array.from({ length: Math.floor({v} / {k}) }, (_, i) => (i + 1) * {k})",
         lambda v, k: list(range(k, v + 1, k)), ("lists the multiples of {k} up to it",), ("列出不超过它的 {k} 的倍数",), tuple(range(2, 6)), wants=frozenset({"short"})),
    Step("primes", "algorithm", "number", "list", "[n for n in range(2, {v} + 1) if is_prime(n)]", "Array.from({ length: {v} }, (_, i) => i + 1).filter(isPrime)",
         lambda v, k: [n for n in range(2, v + 1) if HELPERS["prime"].run(n)], ("lists the primes up to it",), ("列出不超过它的质数",), helper="prime", wants=frozenset({"short"}), weight=2),
    Step("collatz", "algorithm", "number", "list", "path", "path", lambda v, k: _collatz(v), ("lists its Collatz path down to 1",), ("列出它到 1 的考拉兹路径",),
         before=(("path = [{v}]", "while path[-1] > 1:", "    last = path[-1]", "    path.append(last // 2 if last % 2 == 0 else 3 * last + 1)"),
                 ("const path = [{v}];", "while (path.at(-1) > 1) {", "  const last = path.at(-1);", "  path.push(last % 2 === 0 ? last / 2 : 3 * last + 1);", "}")),
         wants=frozenset({"positive", "short"}), weight=2),
    Step("fibonacci", "algorithm", "number", "list", "found", "found", lambda v, k: _fibonacci(v), ("lists that many Fibonacci numbers from 0 on",), ("列出从 0 起这么多个斐波那契数",),
         before=(("a, b, found = 0, 1, []", "for _ in range({v}):", "    found.append(a)", "    a, b = b, a + b"),
                 ("let [a, b] = [0, 1];", "const found = [];", "for (let i = 0; i < {v}; i++) {", "  found.push(a);", "  [a, b] = [b, a + b];", "}")),
         wants=frozenset({"few"}), weight=2),
    Step("plus", "number", "number", "number", "{v} + {k}", "{v} + {k}", lambda v, k: v + k, ("adds {k}",), ("加 {k}",), _BOUNDS),
    Step("minus", "number", "number", "number", "{v} - {k}", "{v} - {k}", lambda v, k: v - k, ("subtracts {k}",), ("减 {k}",), _BOUNDS),
    Step("multiply", "number", "number", "number", "{v} * {k}", "{v} * {k}", lambda v, k: v * k, ("multiplies it by {k}",), ("乘以 {k}",), tuple(range(2, 10))),
    Step("number_square", "number", "number", "number", "{v} * {v}", "{v} * {v}", lambda v, k: v * v, ("squares it",), ("求平方",)),
    Step("number_rest", "number", "number", "number", "{v} % {k}", "{v} % {k}", lambda v, k: v % k, ("takes the remainder by {k}",), ("求除以 {k} 的余数",), tuple(range(3, 10)), wants=frozenset({"natural", "wide"})),
    Step("turned", "number", "number", "number", "int(str({v})[::-1])", 'Number([...String({v})].reverse().join(""))', lambda v, k: int(str(v)[::-1]), ("reverses its digits",), ("把各位数字倒过来",), wants=frozenset({"natural", "wide"})),
    Step("number_even", "number_ask", "number", "truth", "{v} % 2 == 0", "{v} % 2 === 0", lambda v, k: v % 2 == 0, ("checks whether it is even",), ("判断它是不是偶数",)),
    Step("number_above", "number_ask", "number", "truth", "{v} > {k}", "{v} > {k}", lambda v, k: v > k, ("checks whether it is above {k}",), ("判断它是否大于 {k}",), (5, 10, 12, 15, 20, 25, 30)),
    Step("number_divisible", "number_ask", "number", "truth", "{v} % {k} == 0", "{v} % {k} === 0", lambda v, k: v % k == 0, ("checks whether it is divisible by {k}",), ("判断它能不能被 {k} 整除",), tuple(range(3, 8))),
    Step("number_prime", "algorithm", "number", "truth", "is_prime({v})", "isPrime({v})", lambda v, k: HELPERS["prime"].run(v), ("checks whether it is prime",), ("判断它是不是质数",), helper="prime", wants=frozenset({"short"}), weight=2),
    Step("number_mirrored", "algorithm", "number", "truth", "is_mirrored({v})", "isMirrored({v})", lambda v, k: HELPERS["mirrored"].run(v),
         ("checks whether it reads the same backwards",), ("判断它倒过来读是不是一样",), helper="mirrored", wants=frozenset({"natural", "wide"}), weight=2),
)  # fmt: skip

_NO_VOWELS = str.maketrans("", "", "aeiou")


def _coded(text: str) -> str:
    return "".join(f"{letter}{len(list(run))}" for letter, run in groupby(text))


TEXT_STEPS: tuple[Step, ...] = (
    Step("split", "words", "text", "words", "{v}.split()", '{v}.split(" ").filter((word) => word)', lambda v, k: v.split(), ("splits it into words",), ("把它分成单词",)),
    Step("text_reverse", "text", "text", "text", "{v}[::-1]", '[...{v}].reverse().join("")', lambda v, k: v[::-1], ("reverses it",), ("把它倒过来",)),
    Step("text_upper", "text", "text", "text", "{v}.upper()", "{v}.toUpperCase()", lambda v, k: v.upper(), ("puts it in capitals",), ("变成大写",)),
    Step("text_unspaced", "text", "text", "text", '{v}.replace(" ", "")', '{v}.replaceAll(" ", "")', lambda v, k: v.replace(" ", ""), ("takes out the spaces",), ("去掉空格",)),
    Step("text_consonants", "text", "text", "text", '"".join(c for c in {v} if c not in "aeiou")', '[...{v}].filter((c) => !"aeiou".includes(c)).join("")', lambda v, k: v.translate(_NO_VOWELS),
         ("takes out the vowels",), ("去掉元音字母",)),
    Step("text_first", "text", "text", "text", "{v}[:{k}]", "{v}.slice(0, {k})", lambda v, k: v[:k], ("takes the first {k} characters",), ("取前 {k} 个字符",), (2, 3, 4, 5)),
    Step("text_skip", "text", "text", "text", "{v}[{k}:]", "{v}.slice({k})", lambda v, k: v[k:], ("leaves out the first {k} characters",), ("去掉前 {k} 个字符",), (1, 2, 3)),
    Step("text_twice", "text", "text", "text", "{v} + {v}", "{v} + {v}", lambda v, k: v + v, ("writes it twice",), ("写两遍",)),
    Step("text_coded", "algorithm", "text", "text", "coded", "coded", lambda v, k: _coded(v), ("writes each run of equal characters as the character and its length",), ("把每段相同的字符写成字符和长度",),
         before=(('coded, i = "", 0', "while i < len({v}):", "    j = i", "    while j < len({v}) and {v}[j] == {v}[i]:", "        j += 1", "    coded += {v}[i] + str(j - i)", "    i = j"),
                 ('let coded = "";', "let i = 0;", "while (i < {v}.length) {", "  let j = i;", "  while (j < {v}.length && {v}[j] === {v}[i]) j++;", "  coded += {v}[i] + (j - i);", "  i = j;", "}")), weight=2),
    Step("text_length", "measure", "text", "number", "len({v})", "{v}.length", lambda v, k: len(v), ("takes its length",), ("求它的长度",)),
    Step("text_vowels", "measure", "text", "number", 'sum(c in "aeiou" for c in {v})', '[...{v}].filter((c) => "aeiou".includes(c)).length', lambda v, k: sum(c in "aeiou" for c in v), ("counts its vowels",), ("数元音字母的个数",)),
    Step("text_mirrored", "ask", "text", "truth", "{v} == {v}[::-1]", '{v} === [...{v}].reverse().join("")', lambda v, k: v == v[::-1], ("checks whether it reads the same backwards",), ("判断它倒过来读是不是一样",)),
    Step("letter_counts", "counts", "text", "counts", "counts", "counts", lambda v, k: dict(Counter(v)), ("counts each character in a dictionary",), ("用字典数每个字符的次数",),
         before=(("counts = {}", "for c in {v}:", "    counts[c] = counts.get(c, 0) + 1"), ("const counts = {};", "for (const c of {v}) {", "  counts[c] = (counts[c] ?? 0) + 1;", "}"))),
)  # fmt: skip


def _tops(counts: dict[str, int], least: int) -> list[str]:
    return sorted(key for key, count in counts.items() if count >= least)


def _lengths(words: list[str]) -> list[int]:
    return [len(word) for word in words]


def _each(words: Any, change: Any) -> list[str]:
    return [change(word) for word in words]


WORD_STEPS: tuple[Step, ...] = (
    Step("words_longer", "keep", "words", "words", "[w for w in {v} if len(w) > {k}]", "{v}.filter((w) => w.length > {k})", lambda v, k: [w for w in v if len(w) > k], ("keeps the words longer than {k}",), ("只留下长度大于 {k} 的单词",), (3, 4, 5)),
    Step("words_shorter", "keep", "words", "words", "[w for w in {v} if len(w) < {k}]", "{v}.filter((w) => w.length < {k})", lambda v, k: [w for w in v if len(w) < k], ("keeps the words shorter than {k}",), ("只留下长度小于 {k} 的单词",), (4, 5, 6)),
    Step("words_with", "keep", "words", "words", '[w for w in {v} if "e" in w]', '{v}.filter((w) => w.includes("e"))', lambda v, k: [w for w in v if "e" in w], ('keeps the words with an "e"',), ('只留下含有 "e" 的单词',)),
    Step("words_upper", "change", "words", "words", "[w.upper() for w in {v}]", "{v}.map((w) => w.toUpperCase())", lambda v, k: _each(v, str.upper), ("puts each word in capitals",), ("把每个单词变成大写",)),
    Step("words_turned", "change", "words", "words", "[w[::-1] for w in {v}]", '{v}.map((w) => [...w].reverse().join(""))', lambda v, k: [w[::-1] for w in v], ("reverses each word",), ("把每个单词倒过来",)),
    Step("words_first", "change", "words", "words", "[w[0] for w in {v}]", "{v}.map((w) => w[0])", lambda v, k: [w[0] for w in v], ("takes the first letter of each word",), ("取每个单词的第一个字母",)),
    Step("words_sorted", "order", "words", "words", "sorted({v})", "[...{v}].sort()", lambda v, k: sorted(v), ("sorts the words",), ("把单词排序",)),
    Step("words_reversed", "order", "words", "words", "{v}[::-1]", "[...{v}].reverse()", lambda v, k: v[::-1], ("reverses the order of the words",), ("把单词的顺序倒过来",)),
    Step("words_once", "order", "words", "words", "list(dict.fromkeys({v}))", "[...new Set({v})]", lambda v, k: list(dict.fromkeys(v)), ("keeps each word once",), ("去掉重复的单词",)),
    Step("words_some", "cut", "words", "words", "{v}[:{k}]", "{v}.slice(0, {k})", lambda v, k: v[:k], ("takes the first {k} words",), ("取前 {k} 个单词",), (2, 3)),
    Step("words_joined", "write", "words", "text", '"".join({v})', '{v}.join("")', lambda v, k: "".join(v), ("joins the words without spaces",), ("把单词直接连起来",)),
    Step("words_spaced", "write", "words", "text", '" ".join({v})', '{v}.join(" ")', lambda v, k: " ".join(v), ("joins the words with spaces",), ("用空格把单词连起来",)),
    Step("words_dashed", "write", "words", "text", '"-".join({v})', '{v}.join("-")', lambda v, k: "-".join(v), ("joins the words with dashes",), ("用横线把单词连起来",)),
    Step("words_count", "measure", "words", "number", "len({v})", "{v}.length", lambda v, k: len(v), ("counts the words",), ("数单词的个数",)),
    Step("words_lengths", "measure", "words", "list", "[len(w) for w in {v}]", "{v}.map((w) => w.length)", lambda v, k: _lengths(v), ("takes the length of each word",), ("求每个单词的长度",)),
    Step("word_counts", "counts", "words", "counts", "counts", "counts", lambda v, k: dict(Counter(v)), ("counts each word in a dictionary",), ("用字典数每个单词的次数",),
         before=(("counts = {}", "for w in {v}:", "    counts[w] = counts.get(w, 0) + 1"), ("const counts = {};", "for (const w of {v}) {", "  counts[w] = (counts[w] ?? 0) + 1;", "}"))),
    Step("counts_largest", "measure", "counts", "number", "max({v}.values(), default=0)", "Math.max(0, ...Object.values({v}))", lambda v, k: max(v.values(), default=0), ("takes the largest count, or 0 if there is none",), ("取最大的次数，没有时取 0",)),
    Step("counts_size", "measure", "counts", "number", "len({v})", "Object.keys({v}).length", lambda v, k: len(v), ("tells how many different ones there are",), ("求有多少种",)),
    Step("counts_tops", "keep", "counts", "words", "sorted(key for key in {v} if {v}[key] >= {k})", "Object.keys({v}).filter((key) => {v}[key] >= {k}).sort()", lambda v, k: _tops(v, k), ("lists in order those that are there at least {k} times",), ("按顺序列出至少出现 {k} 次的",), (2, 3)),
    Step("counts_once", "keep", "counts", "words", "sorted(key for key in {v} if {v}[key] == 1)", "Object.keys({v}).filter((key) => {v}[key] === 1).sort()", lambda v, k: sorted(key for key in v if v[key] == 1), ("lists in order those that are there once",), ("按顺序列出只出现一次的",)),
)  # fmt: skip
