"""The text that the small tokenizers of these tests are trained on."""

import random


def sample_texts() -> list[str]:
    """Some 60 kilobytes of English, Chinese and code with many made-up words, the same every time."""
    chance = random.Random("kwen/tests/text")
    people, places = ["Mara", "Oswin", "Tilde", "Zorvik"], ["the harbour", "a mill", "the old town", "Lindow"]
    syllables = [first + second for first in "bdfgklmnprst" for second in ("a", "e", "i", "o", "u", "an", "er")]
    words = ["".join(chance.choices(syllables, k=chance.randint(2, 4))) for _ in range(120)]
    lines = []
    for number in range(300):
        who, where, what = chance.choice(people), chance.choice(places), chance.choices(words, k=3)
        lines.append(f"{who} walked to {where} and said that it's {number} {what[0]}; the others didn't {what[1]} it.")
        lines.append(f"{who}在{number}年去了城里，她说那里很好。")
        lines.append(f"def {what[1]}_{what[2]}(a, b):\n    return a + b * {number}\n")
    return lines
