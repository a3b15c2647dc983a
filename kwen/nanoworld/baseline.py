"""The nearest-training-question baseline: answer every held-out question with the answer of the most similar training question.

It shows what memory alone would score: a task on which it does well asks for no skill.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np

from kwen.nanoworld.dialogues import Dialogue, dialogues
from kwen.nanoworld.questions import Question, Task, held_out

TRAINING_DIALOGUES = 20_000
"""How many training dialogues are searched where the caller gives none."""
_CHUNK = 2_000  # training questions compared at a time; bounds memory to about 100 MB
_TOKEN = re.compile(r"[a-z]+|\d|[一-鿿]|[^\w\s]")


def _features(text: str) -> Counter[str]:
    """Counts of the text's tokens (words, digits, Chinese characters, marks) and pairs of neighbours."""
    tokens = _TOKEN.findall(text.lower())
    return Counter(tokens + [f"{left} {right}" for left, right in pairwise(tokens)])


def _pairs(training: Iterable[Dialogue]) -> list[tuple[str, str]]:
    """Every (user message, answer to it) of the dialogues."""
    pairs = []
    for dialogue in training:
        for asked, answered in pairwise(dialogue.messages):
            if asked["role"] == "user" and answered["role"] == "assistant":
                pairs.append((asked["content"], answered["content"]))
    return pairs


def nearest_question_baseline(
    task: Task,
    seed: int = 0,
    held_out_questions: Sequence[Question] | None = None,
    training_dialogues: Iterable[Dialogue] | None = None,
) -> list[str]:
    """The answers, one per held-out question, of the training questions most similar to them.

    Similarity is the cosine of TF-IDF vectors of tokens and token pairs; of equally near questions the first answers. Without
    questions or dialogues, those of `task` and `seed` are taken: `held_out(task, seed)` and the first `TRAINING_DIALOGUES` of
    `dialogues(seed)`.
    """
    questions = held_out(task, seed) if held_out_questions is None else held_out_questions
    pairs = _pairs(dialogues(seed, TRAINING_DIALOGUES) if training_dialogues is None else training_dialogues)
    asked = [_features(question.messages[-1]["content"]) for question in questions]
    known = [_features(question) for question, _ in pairs]

    seen_in = Counter(feature for features in known for feature in features)
    idf = {feature: float(np.log(len(known) / count)) + 1.0 for feature, count in seen_in.items()}
    columns = {
        feature: column
        for column, feature in enumerate(sorted({feature for features in asked for feature in features if feature in idf}))
    }

    def vectors(rows: Sequence[Counter[str]]) -> np.ndarray:
        """Unit vectors (rows, columns); features that no held-out question has count only towards the length."""
        matrix = np.zeros((len(rows), len(columns)), dtype=np.float32)
        for row, features in enumerate(rows):
            length = sum((count * idf.get(feature, 0.0)) ** 2 for feature, count in features.items()) ** 0.5 or 1.0
            for feature, count in features.items():
                if feature in columns:
                    matrix[row, columns[feature]] = count * idf[feature] / length
        return matrix

    wanted = vectors(asked)
    best = np.full(len(questions), -1.0, dtype=np.float32)
    nearest = np.zeros(len(questions), dtype=np.int64)
    for start in range(0, len(known), _CHUNK):
        similarity = wanted @ vectors(known[start : start + _CHUNK]).T
        found = similarity.argmax(axis=1)
        similar = similarity[np.arange(len(questions)), found]
        nearest = np.where(similar > best, found + start, nearest)
        best = np.maximum(best, similar)
    return [pairs[i][1] for i in nearest]
