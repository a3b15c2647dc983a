"""The text that the small tokenizers of these tests are trained on."""

import random


def sample_texts() -> list[str]:
    """A few kilobytes of English, Chinese and code, the same every time."""
    chance = random.Random("kwen/tests/text")
    people, places = ["Mara", "Oswin", "Tilde", "Zorvik"], ["the harbour", "a mill", "the old town", "Lindow"]
    lines = []
    for number in range(300):
        who, where = chance.choice(people), chance.choice(places)
        lines.append(f"{who} walked to {where} and said that it's {number} steps; the others didn't believe it.")
        lines.append(f"{who}在{number}年去了城里，她说那里很好。")
        lines.append(f"def add_{number}(a, b):\n    return a + b * {number}\n")
    return lines
