"""The blocks of the paged cache: who holds them, which positions of a sequence lie in them, and which hold the beginning of a
text that may come again.

Cached text is a tree: a node is one full block of tokens after its parent's, so a path from the root is a prefix. Keys are the
tokens themselves under their parent's number, never a hash: two texts cannot be taken for each other. A block that nobody holds
stays cached until its place is needed; the one unused for longest goes first, and the ends of texts before their beginnings.
Texts of different RoPE bases (dynamic NTK's chunks) have keys that differ, so each chunk has a root of its own: 0, -1, -2, ...
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from kwen.engine.runner import BLOCK

ROOT = 0
Key = tuple[int, tuple[int, ...]]
"""A node's parent, and its tokens."""


@dataclass(slots=True)
class Match:
    """How much of a prompt is cached: the blocks of its first `len(blocks) * BLOCK` tokens, the node that they end in; `tail`, a
    block whose first tokens are the whole rest of the prompt; `pending`: another request is computing more of it right now."""

    blocks: list[int] = field(default_factory=list)
    node: int = ROOT
    tail: int | None = None
    pending: bool = False


class Tables:
    """The blocks of one sequence: a table for each group of layers, position p in block `groups[g][p // BLOCK]`.

    windows: of each group. What no later query of a windowed group sees is given back; its place in the table stays.
    """

    def __init__(self, windows: Sequence[int | None]) -> None:
        self.windows = windows
        self.groups: list[list[int]] = [[] for _ in windows]
        self._gone = [0] * len(windows)  # blocks given back, from the table's beginning on

    def missing(self, tokens: int) -> int:
        """Blocks that have to be taken so that there is room for `tokens` positions."""
        return max(0, -(-tokens // BLOCK) - len(self.groups[0])) * len(self.groups)

    def extend(self, blocks: list[int]) -> None:
        """Put as many blocks as are `missing` to the ends of the tables."""
        each = len(blocks) // len(self.groups)
        for number, table in enumerate(self.groups):
            table += blocks[number * each : (number + 1) * each]

    def unseen(self, position: int) -> list[int]:
        """Take out the blocks that no query at `position` or later sees."""
        blocks: list[int] = []
        for number, window in enumerate(self.windows):
            if window is not None:
                gone = max(self._gone[number], (position - window + 1) // BLOCK)
                blocks += self.groups[number][self._gone[number] : gone]
                self._gone[number] = gone
        return blocks

    def held(self) -> list[int]:
        """All blocks that were not given back."""
        return [block for gone, table in zip(self._gone, self.groups, strict=True) for block in table[gone:]]


def most_blocks(windows: Sequence[int | None], tokens: int, chunk: int) -> int:
    """The most blocks that a sequence of so many tokens holds at once if `chunk` tokens go through in one pass at most."""
    whole = -(-tokens // BLOCK)
    return sum(whole if window is None else min(whole, -(-(window + chunk) // BLOCK) + 1) for window in windows)


class BlockPool:
    """`count` blocks, numbers 0 to count - 1; grows by `grow`. most_held: so many were in use at once."""

    def __init__(self, count: int = 0) -> None:
        self.count, self.most_held = count, 0
        self._fresh = 0  # blocks from here on were never used
        self._free: list[int] = []
        self._holders: dict[int, int] = {}
        self._unheld: OrderedDict[int, None] = OrderedDict()  # cached, held by nobody; longest unused first
        self._nodes: dict[Key, tuple[int, int]] = {}  # (parent, tokens) -> (node, block)
        self._tails: dict[Key, int] = {}
        self._keys: dict[int, list[Key]] = {}  # of each cached block: its node's, its tail's
        self._pending: set[Key] = set()
        self._next_node = ROOT + 1

    @property
    def available(self) -> int:
        """How many blocks can be had: free ones, and cached ones that nobody holds."""
        return len(self._free) + self.count - self._fresh + len(self._unheld)

    @property
    def held(self) -> int:
        """How many blocks are in use."""
        return len(self._holders)

    def grow(self, count: int) -> None:
        """Make it `count` blocks at least."""
        self.count = max(self.count, count)

    def take(self, count: int) -> list[int] | None:
        """`count` blocks for one holder, or None where there are not so many."""
        if count > self.available:
            return None
        blocks = []
        for _ in range(count):
            if self._free:
                block = self._free.pop()
            elif self._fresh < self.count:
                block, self._fresh = self._fresh, self._fresh + 1
            else:
                block, _ = self._unheld.popitem(last=False)
                self._forget(block)
            self._holders[block] = 1
            blocks.append(block)
        self.most_held = max(self.most_held, len(self._holders))
        return blocks

    def hold(self, block: int) -> None:
        """One holder more of a block that is cached."""
        self._unheld.pop(block, None)
        self._holders[block] = self._holders.get(block, 0) + 1

    def release(self, blocks: list[int]) -> None:
        """One holder less of each; those of the end of a text first in line to be used again."""
        for block in reversed(blocks):
            self._holders[block] -= 1
            if self._holders[block]:
                continue
            del self._holders[block]
            keys = self._keys.get(block, [])
            if any(key in self._pending for key in keys):  # never computed: worth nothing
                self._forget(block)
                keys = []
            if keys:
                self._unheld[block] = None
            else:
                self._free.append(block)

    def match(self, prompt: list[int], root: int = ROOT) -> Match:
        """The longest cached beginning of `prompt` below `root`; one token at least is left to compute."""
        found = Match(node=root)
        whole = _whole(prompt)
        for number in range(whole):
            key = (found.node, tuple(prompt[number * BLOCK : (number + 1) * BLOCK]))
            if key not in self._nodes:
                return found
            if key in self._pending:
                found.pending = True
                return found
            found.node, block = self._nodes[key]
            found.blocks.append(block)
        key = (found.node, tuple(prompt[whole * BLOCK :]))
        if len(key[1]) > 1 and key in self._tails:
            found.pending = key in self._pending
            found.tail = None if found.pending else self._tails[key]
        return found

    def announce(self, prompt: list[int], blocks: list[int], match: Match) -> list[Key]:
        """Enter the blocks of `prompt` that are about to be computed, so that equal prompts wait for them; the keys for
        `computed`."""
        keys: list[Key] = []
        node = match.node
        whole = _whole(prompt)
        for number in range(len(match.blocks), whole):
            key = (node, tuple(prompt[number * BLOCK : (number + 1) * BLOCK]))
            node = self._enter(key, blocks[number])
            self._pending.add(key)
            keys.append(key)
        key = (node, tuple(prompt[whole * BLOCK :]))
        if len(key[1]) > 1 and key not in self._tails:
            self._tails[key] = blocks[whole]
            self._keys.setdefault(blocks[whole], []).append(key)
            self._pending.add(key)
            keys.append(key)
        return keys

    def computed(self, key: Key) -> None:
        """What was announced is in the cache now."""
        self._pending.discard(key)

    def remember(self, parent: int, tokens: tuple[int, ...], block: int) -> int:
        """Enter a full block of tokens after node `parent`; its node. One that is cached already stays as it is."""
        key = (parent, tokens)
        if key in self._nodes:
            return self._nodes[key][0]
        return self._enter(key, block)

    def clear(self) -> None:
        """Forget all cached text; blocks that are held stay held."""
        for block in [*self._keys]:
            self._forget(block)
        self._free += self._unheld
        self._unheld.clear()

    def _enter(self, key: Key, block: int) -> int:
        node, self._next_node = self._next_node, self._next_node + 1
        self._nodes[key] = (node, block)
        self._keys.setdefault(block, []).append(key)
        return node

    def _forget(self, block: int) -> None:
        for key in self._keys.pop(block, []):
            self._pending.discard(key)
            if self._nodes.get(key, (0, -1))[1] == block:
                del self._nodes[key]
            if self._tails.get(key) == block:
                del self._tails[key]


def _whole(prompt: list[int]) -> int:
    """The full blocks of `prompt` before its last token, which is always computed."""
    return (len(prompt) - 1) // BLOCK
