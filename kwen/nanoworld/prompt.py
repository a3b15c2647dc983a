"""What a prompt is: something a user asks, tagged by topic and difficulty, with what the oracle needs to grade any reply to it."""

from dataclasses import dataclass
from typing import Literal, get_args

from kwen.nanoworld.names import Language

Topic = Literal[
    "facts", "follow_up", "unknown", "problems", "functions", "reading", "two_people", "comparison", "small_talk", "identity", "unsafe"
]  # fmt: skip
TOPICS: tuple[Topic, ...] = get_args(Topic)
Difficulty = Literal["easy", "medium", "hard"]
DIFFICULTIES: tuple[Difficulty, ...] = get_args(Difficulty)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation that ends with a user's message, its tags, and what the oracle knows about it.

    answer: the ideal reply. kind: the relation, schema, family, slot or kind of comparison; empty for talk. name: whom or what a
    question about a name is about. value: what a right reply states (object, number, name; of an unsafe request what it is
    about). competitors: what it would be wrong to state in its place. rivals: names that a right reply does not speak of.
    entry_point, tests (assert statements): of a function.
    """

    id: str
    messages: list[dict[str, str]]
    language: Language
    topic: Topic
    difficulty: Difficulty
    answer: str
    kind: str = ""
    name: str = ""
    value: str = ""
    competitors: tuple[str, ...] = ()
    rivals: tuple[str, ...] = ()
    entry_point: str = ""
    tests: tuple[str, ...] = ()

    @property
    def request(self) -> str:
        """The last message: what the reply must answer."""
        return self.messages[-1]["content"]
