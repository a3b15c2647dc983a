"""What people are shown before training."""

from rich.text import Text

from kwen.align.datasets import DocumentBuilder, NanoworldChat, as_documents, render_conversation, tokenize_conversations
from kwen.align.preferences import Pair, tokenize_pairs
from kwen.align.preview import MARKER, TRAINED, preview
from kwen.text.tokenizer import Tokenizer


def styled(text: Text, style: str) -> list[str]:
    return [text.plain[span.start : span.end] for span in text.spans if span.style == style]


def messages(question: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def test_trained_tokens_are_coloured_and_characters_stay_whole(chat_tokenizer: Tokenizer) -> None:
    builder = DocumentBuilder()
    rendered = render_conversation(messages("Who?", "Mara, 码头 🙂"), chat_tokenizer)
    builder.add(rendered.token_ids, rendered.loss_mask)
    (text,) = preview(builder.documents(), chat_tokenizer)
    assert styled(text, TRAINED) == ["Mara, 码头 🙂", "<|im_end|>"]
    assert styled(text, MARKER) == ["<|im_start|>", "<|im_end|>", "<|im_start|>", "<|im_end|>", "<|im_start|>"]
    body = text.plain.split("trained\n", 1)[1]
    assert body == chat_tokenizer.decode(rendered.token_ids, skip_special_tokens=False) + "\n"


def test_examples_are_spread_over_the_data(chat_tokenizer: Tokenizer) -> None:
    source = NanoworldChat(kind="nanoworld", count=9)
    documents, _ = as_documents([tokenize_conversations([source], chat_tokenizer, seed=0, masking="team", longest=2000)], 2000)
    titles = [text.plain.split(":")[0] for text in preview(documents, chat_tokenizer)]
    assert titles == ["example 1 of 9", "example 5 of 9", "example 9 of 9"]
    assert len(preview(documents, chat_tokenizer, count=20)) == 9
    assert preview(documents, chat_tokenizer, count=0) == []


def test_a_pair_shows_both_sides(chat_tokenizer: Tokenizer) -> None:
    pair = Pair([{"role": "user", "content": "2 + 3?"}], "five", "six", "sums", "here")
    documents, _, _ = tokenize_pairs([pair], chat_tokenizer, longest=500)
    (text,) = preview(documents, chat_tokenizer)
    assert "example 1 of 1, chosen: " in text.plain and "example 1 of 1, rejected: " in text.plain
    assert styled(text, TRAINED) == ["five", "<|im_end|>", "six", "<|im_end|>"]
    assert text.plain.count("<|im_end|>") == 6


def test_long_examples_lose_their_middle_not_their_end(chat_tokenizer: Tokenizer) -> None:
    builder = DocumentBuilder()
    rendered = render_conversation(messages("Count.", "word " * 3000 + "the end"), chat_tokenizer)
    builder.add(rendered.token_ids, rendered.loss_mask)
    (text,) = preview(builder.documents(), chat_tokenizer)
    assert f"{len(rendered.token_ids) - 600:,} tokens not shown" in text.plain
    assert text.plain.rstrip().endswith("the end<|im_end|>") and len(text.plain) < 6000


def test_data_cannot_steer_the_terminal(chat_tokenizer: Tokenizer) -> None:
    builder = DocumentBuilder()
    rendered = render_conversation(messages("\x1b[2J\r\u202e [red]", "ok\tyes"), chat_tokenizer)
    builder.add(rendered.token_ids, rendered.loss_mask)
    (text,) = preview(builder.documents(), chat_tokenizer)
    assert "\\x1b[2J\\r\\u202e [red]" in text.plain and "\x1b" not in text.plain
    assert styled(text, TRAINED)[0] == "ok\tyes"
