"""The models that a server has, by name."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from kwen.engine.hermes import THINK
from kwen.engine.language_model import LanguageModel
from kwen.engine.sampler import default_sampling
from kwen.engine.service import Service
from kwen.errors import UserError
from kwen.serve.errors import unknown_model


@dataclass(frozen=True)
class ServedModel:
    """A model under the name that requests ask for, and the engine that runs it. lm: the model over that engine.

    created: seconds since 1970 when it was loaded.
    """

    name: str
    lm: LanguageModel
    service: Service
    created: int = 0
    defaults: dict[str, Any] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "defaults", default_sampling(self.lm.generation_config))

    @property
    def context(self) -> int:
        """Tokens of prompt and answer together."""
        return self.lm.config.max_position_embeddings

    @property
    def thinks(self) -> bool:
        """Whether its template knows thoughts, so that an answer may begin with some."""
        return THINK in (self.lm.chat_template or "")


class Models(Mapping[str, ServedModel]):
    """Served models by name, in their order; asking for another name raises an ApiError."""

    def __init__(self, models: list[ServedModel]) -> None:
        self._models = {model.name: model for model in models}
        if not models:
            raise UserError("no model to serve; name one")
        if len(self._models) < len(models):
            names = [model.name for model in models]
            twice = next(name for name in names if names.count(name) > 1)
            raise UserError(f"two models are named {twice!r}; tell them apart with NAME=PATH")

    def __getitem__(self, name: str) -> ServedModel:
        if name not in self._models:
            raise unknown_model(name, self._models)
        return self._models[name]

    def __contains__(self, name: object) -> bool:
        return name in self._models

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)
