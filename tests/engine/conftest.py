"""A tiny random model with a real tokenizer: enough for every law of generation, in milliseconds."""

import pytest
from random_models import make_tokenizer, random_model, small_config

from kwen.engine.generator import Generator
from kwen.engine.language_model import LanguageModel
from kwen.model.transformer import Transformer
from kwen.text.tokenizer import Tokenizer


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """Without a chat template."""
    return make_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="session")
def model(tokenizer: Tokenizer) -> Transformer:
    """A random model over the tokenizer's vocabulary with a context of 256."""
    return random_model(small_config(tokenizer.vocab_size))


@pytest.fixture(scope="session")
def lm(model: Transformer, tokenizer: Tokenizer) -> LanguageModel:
    """The model as users hold it."""
    return LanguageModel(model, tokenizer)


@pytest.fixture(scope="session")
def padded_generator(tokenizer: Tokenizer) -> Generator:
    """A random model whose vocabulary is padded beyond the tokenizer's, with room for long answers."""
    return Generator(random_model(small_config(tokenizer.vocab_size + 13, context=1024)), tokenizer, slots=8)
