"""Guessing the next tokens by looking where the last ones stood before (prompt lookup, Saxena 2023).

Guesses go through the model beside the token that is certain, and the first ones that the sampler would have chosen anyway are
kept: the answer is the same, in fewer passes. Text that repeats its prompt (editing, quoting, code) gains; other text is hardly
ever guessed.
"""

_LONGEST, _SHORTEST = 3, 2  # tokens that have to agree


class Lookup:
    """The tokens of one request, with the place after each run of two and three of them; guesses `count` tokens at most."""

    def __init__(self, tokens: list[int], count: int) -> None:
        self._tokens: list[int] = []
        self._places: dict[tuple[int, ...], tuple[int, int]] = {}  # run -> where what followed it begins: last time, time before
        self._count = count
        for token in tokens:
            self.push(token)

    def push(self, token: int) -> None:
        """One token more."""
        self._tokens.append(token)
        end = len(self._tokens)
        for size in range(_SHORTEST, _LONGEST + 1):
            if size <= end:
                run = tuple(self._tokens[end - size :])
                self._places[run] = (end, self._places.get(run, (0, 0))[0])

    def guess(self) -> list[int]:
        """What followed the last tokens when they stood there before; the longest run counts."""
        for size in range(_LONGEST, _SHORTEST - 1, -1):
            last, before = self._places.get(tuple(self._tokens[-size:]), (0, 0))
            place = before if last == len(self._tokens) else last
            if place:
                return self._tokens[place : place + self._count]
        return []
