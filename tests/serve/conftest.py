"""Fixtures of the server's tests: one server for all of them, and OpenAI's own client."""

from collections.abc import Iterator
from typing import Any

import pytest
from random_models import make_tokenizer
from serving import SETTINGS, THINKING_TEMPLATE, Running, make_lm, running, served

from kwen.text.tokenizer import Tokenizer


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """The tokenizer of every model here."""
    return make_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="session")
def server(tokenizer: Tokenizer) -> Iterator[Running]:
    """Two plain models, `tiny` and `other`, and `thinker`, whose template opens thoughts."""
    with (
        served(make_lm(tokenizer), "tiny", slots=16, max_waiting=64) as tiny,
        served(make_lm(tokenizer, 1), "other", slots=4) as other,
        served(make_lm(tokenizer, 2, THINKING_TEMPLATE), "thinker", slots=4) as thinker,
        running([tiny, other, thinker], SETTINGS) as made,
    ):
        yield made


@pytest.fixture(scope="session")
def client(server: Running) -> Any:
    """OpenAI's own client."""
    openai = pytest.importorskip("openai", reason="OpenAI's client is absent: pip install openai")
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=60)
