"""What training will see, for people: examples as the tokenizer renders them, trained tokens in colour."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np
from rich.text import Text

from kwen.align.datasets import KINDS, ChatFile, ChatSource, chat_file_kind
from kwen.align.preferences import PairSource
from kwen.text.tokenizer import Tokenizer
from kwen.train.batches import Documents
from kwen.train.plan import TrainingPlan

TRAINED, MASKED, MARKER = "bold green", "", "dim"
_HEAD, _TAIL = 400, 200  # tokens shown of a longer example, from its beginning and its end


def introduction(
    sources: Sequence[ChatSource | PairSource], documents: Documents, tokenizer: Tokenizer, plan: TrainingPlan
) -> list[Text]:
    """What a user should see before the first step: what kind each file is, the plan, and examples as the model will see them."""
    files = [source for source in sources if isinstance(source, ChatFile)]
    kinds = [Text(f"{source.path}: {KINDS[chat_file_kind(source)]}") for source in files]
    return [*kinds, Text(f"plan  {plan}"), *preview(documents, tokenizer)]


def preview(documents: Documents, tokenizer: Tokenizer, count: int = 3) -> list[Text]:
    """`count` examples spread over the documents, one text each, pairs with both sides.

    Trained tokens are green and bold, control tokens dim unless trained, and the middle of a long example is left out with
    the number of tokens. Texts are data: characters that would steer a terminal are shown by their code.
    """
    total = len(documents.offsets) - 1
    chosen = np.unique(np.linspace(0, total - 1, min(count, total)).round().astype(int)).tolist() if total else []
    return [_example(documents, index, total, tokenizer) for index in chosen]


def _example(documents: Documents, index: int, total: int, tokenizer: Tokenizer) -> Text:
    begin, end = int(documents.offsets[index]), int(documents.offsets[index + 1])
    parts = [("", begin, end)]
    if documents.splits is not None:
        # A pair's last token repeats the end of the rejected side for the batches' sake.
        middle = begin + int(documents.splits[index])
        second = "rejected" if documents.prompts is None else "rejected, after the same prompt"
        parts = [("chosen", begin, middle), (second, middle, end - 1)]
    text = Text()
    for name, start, stop in parts:
        trained = [True] * (stop - start) if documents.trained is None else documents.trained[start:stop].tolist()
        size = f"{stop - start} tokens, {sum(trained)} trained"
        title = f"example {index + 1} of {total}{f', {name}' if name else ''}: {size}"
        text.append(f"{title}\n", style="bold underline")
        _append(text, documents.tokens[start:stop].tolist(), trained, tokenizer)
        text.append("\n")
    return text


def _append(text: Text, ids: Sequence[int], trained: Sequence[bool], tokenizer: Tokenizer) -> None:
    """The tokens in runs of one look, so that characters made of several tokens come out whole."""
    control = set(tokenizer.control_tokens.values())
    looks = [(flag, number in control) for number, flag in zip(ids, trained, strict=True)]
    hidden = range(_HEAD, len(ids) - _TAIL)
    for place, positions in groupby(range(len(ids)), lambda position: (position in hidden, looks[position])):
        run = list(positions)
        is_hidden, (flag, is_control) = place
        if is_hidden:
            if run[0] == hidden.start:
                text.append(f"\n... {len(hidden):,} tokens not shown ...\n", style="italic")
            continue
        style = TRAINED if flag else MARKER if is_control else MASKED
        text.append(_printable(tokenizer.decode([ids[position] for position in run], skip_special_tokens=False)), style=style)


def _printable(text: str) -> str:
    """`text` without what would move a cursor or turn writing around: such characters become \\x1b or \\u202e."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)
