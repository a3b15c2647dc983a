"""Stop strings found in text that comes piece by piece, in time linear in the text however many stop strings there are.

The classic automaton of Aho and Corasick (1975): its state is the longest end of the text that begins some stop string,
which is also exactly what a stream must hold back.
"""

from collections import deque
from functools import lru_cache


class StopAutomaton:
    """The automaton for a set of non-empty stop strings; immutable, shared by all requests with the same set."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self.children: list[dict[str, int]] = [{}]
        self.depth = [0]
        self.fallback = [0]
        self.match_length = [0]
        for stop in stops:
            self._insert(stop)
        self._link()
        self.first_characters = frozenset(self.children[0])

    def _insert(self, stop: str) -> None:
        node = 0
        for character in stop:
            child = self.children[node].get(character)
            if child is None:
                child = len(self.children)
                self.children[node][character] = child
                self.children.append({})
                self.depth.append(self.depth[node] + 1)
                self.fallback.append(0)
                self.match_length.append(0)
            node = child
        self.match_length[node] = len(stop)

    def _link(self) -> None:
        """Breadth first: a node falls back to its longest proper end that is also a beginning, and matches what that does."""
        queue = deque(self.children[0].values())
        while queue:
            node = queue.popleft()
            self.match_length[node] = self.match_length[node] or self.match_length[self.fallback[node]]
            for character, child in self.children[node].items():
                self.fallback[child] = self.step(self.fallback[node], character)
                queue.append(child)

    def step(self, node: int, character: str) -> int:
        """The state after one more character."""
        while node and character not in self.children[node]:
            node = self.fallback[node]
        return self.children[node].get(character, 0)


@lru_cache(maxsize=64)
def automaton(stops: tuple[str, ...]) -> StopAutomaton:
    """The automaton of `stops`, built once for the many requests that share them."""
    return StopAutomaton(stops)


class StopScanner:
    """Where one text stands. The stop string that ends first wins, the longest of those that end together."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._automaton = automaton(stops)
        self._state = 0
        self._held = ""

    def feed(self, piece: str) -> tuple[str, str | None]:
        """Take the next piece of text; give the text that is certain to come before any stop string, and the stop found.

        After a stop string is found the text given so far is complete, and nothing more may be fed.
        """
        if not self._state and self._automaton.first_characters.isdisjoint(piece):
            return piece, None
        state, text = self._state, self._held + piece
        for end, character in enumerate(piece, start=len(self._held) + 1):
            state = self._automaton.step(state, character)
            if length := self._automaton.match_length[state]:
                return text[: end - length], text[end - length : end]
        self._state = state
        certain = len(text) - self._automaton.depth[state]
        self._held = text[certain:]
        return text[:certain], None

    def finish(self) -> str:
        """The text still held back, once nothing more will come."""
        held, self._held, self._state = self._held, "", 0
        return held
