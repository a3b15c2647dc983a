"""The blocks of the paged cache: who holds them, which positions of a sequence lie in them, and which hold the beginning of a
text that may come again.

Cached text is a tree: a node is one full block of tokens after its parent's, so a path from the root is a prefix. Keys are the
tokens themselves under their parent's number, never a hash: two texts cannot be taken for each other. A node has a block in each
group of layers. A prefix can be used where each group has the blocks that the next query sees, which of a group with a window
are the last few only. A block that nobody holds stays cached until its place is needed; the one unused for longest goes first,
and the ends of texts before their beginnings. Texts of different RoPE bases (dynamic NTK's chunks) have keys that differ, so each
chunk has a root of its own: 0, -1, -2, ...
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain

from kwen.engine.runner import BLOCK

ROOT = 0
Key = tuple[int, tuple[int, ...]]
"""A node's parent, and its tokens: BLOCK of them, or fewer at the end of a prompt."""


@dataclass(slots=True)
class Node:
    """A block of tokens in the tree. blocks: of each group, None where it is not cached (any more). pending: a request is
    computing it right now."""

    number: int
    blocks: list[int | None]
    pending: bool = False


@dataclass(slots=True)
class Match:
    """How much of a prompt is cached.

    tokens: so many need not be computed. whole: the full blocks among them, which end in `node`. groups: of each group those of
    the full blocks that are still seen, the last ones. tail: of each group a block whose first tokens are the whole rest of the
    prompt, or nothing. pending: another request is computing more of it right now, and nothing else is told.
    """

    tokens: int = 0
    whole: int = 0
    node: int = ROOT
    groups: list[list[int]] = field(default_factory=list)
    tail: list[int] = field(default_factory=list)
    pending: bool = False

    def held(self) -> list[int]:
        """All blocks of it."""
        return [*chain.from_iterable(self.groups), *self.tail]


class Tables:
    """The blocks of one sequence: a table for each group of layers, position p in block `groups[g][p // BLOCK]`.

    windows: of each group. What no later query of a windowed group sees is given back; its place in the table stays.
    match: what the sequence begins with; a block that it names for a place is held already.
    """

    def __init__(self, windows: Sequence[int | None], match: Match | None = None) -> None:
        self.windows = windows
        begin = match if match is not None else Match(groups=[[] for _ in windows])
        self._gone = [begin.whole - len(blocks) for blocks in begin.groups]  # not held, from the table's beginning on
        self.groups = [[0] * gone + blocks for gone, blocks in zip(self._gone, begin.groups, strict=True)]

    def missing(self, tokens: int) -> int:
        """Blocks that have to be taken so that there is room for `tokens` positions."""
        return max(0, -(-tokens // BLOCK) - len(self.groups[0])) * len(self.groups)

    def extend(self, blocks: list[int]) -> None:
        """Put as many blocks as are `missing` to the ends of the tables."""
        each = len(blocks) // len(self.groups)
        for number, table in enumerate(self.groups):
            table += blocks[number * each : (number + 1) * each]

    def at(self, position: int) -> list[int]:
        """Of each group the block in which `position` lies."""
        return [table[position // BLOCK] for table in self.groups]

    def unseen(self, position: int) -> list[int]:
        """Take out the blocks that no query at `position` or later sees."""
        blocks: list[int] = []
        for number, window in enumerate(self.windows):
            if window is not None:
                gone = max(self._gone[number], _first_seen(window, position))
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
    """`count` blocks, numbers 0 to count - 1; grows by `grow`. windows: of each group. most_held: so many were in use at once."""

    def __init__(self, windows: Sequence[int | None] = (None,), count: int = 0) -> None:
        self.windows, self.count, self.most_held = windows, count, 0
        self._fresh = 0  # blocks from here on were never used
        self._free: list[int] = []
        self._holders: dict[int, int] = {}
        self._unheld: OrderedDict[int, None] = OrderedDict()  # cached, held by nobody; longest unused first
        self._nodes: dict[Key, Node] = {}
        self._keys: dict[int, list[tuple[Key, int]]] = {}  # of each cached block: its nodes', and in which group it is theirs
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

    def hold(self, blocks: Sequence[int]) -> None:
        """One holder more of each, which are cached."""
        for block in blocks:
            self._unheld.pop(block, None)
            self._holders[block] = self._holders.get(block, 0) + 1

    def release(self, blocks: list[int]) -> None:
        """One holder less of each; those of the end of a text first in line to be used again."""
        for block in reversed(blocks):
            self._holders[block] -= 1
            if self._holders[block]:
                continue
            del self._holders[block]
            if block in self._keys:
                self._unheld[block] = None
            else:
                self._free.append(block)

    def match(self, prompt: list[int], root: int = ROOT) -> Match:
        """The longest cached beginning of `prompt` below `root`; one token at least is left to compute."""
        found = Match(node=root)
        path: list[Node] = []
        runs = [0] * len(self.windows)  # of each group, how many blocks in a row are cached up to here
        parent, whole, tail = root, _whole(prompt), False
        for place in range(whole + 1):
            tokens = tuple(prompt[place * BLOCK : (place + 1) * BLOCK])
            node = self._nodes.get((parent, tokens))
            if node is None or place == whole and len(tokens) == 1:
                break
            if node.pending:
                return Match(pending=True)
            path.append(node)
            position = min((place + 1) * BLOCK, len(prompt) - 1)
            runs = [run + 1 if block is not None else 0 for run, block in zip(runs, node.blocks, strict=True)]
            if all(run > place - _first_seen(window, position) for run, window in zip(runs, self.windows, strict=True)):
                tail = place == whole
                found.tokens, found.whole, found.node = position, place + (not tail), parent if tail else node.number
            parent = node.number
        for group, window in enumerate(self.windows):
            seen = path[_first_seen(window, found.tokens) : found.whole]
            found.groups.append([block for node in seen if (block := node.blocks[group]) is not None])
        if tail:
            found.tail = [block for block in path[whole].blocks if block is not None]
        return found

    def announce(self, prompt: list[int], match: Match) -> list[tuple[int, Key]]:
        """Enter what of `prompt` is about to be computed, so that equal prompts wait for it: the keys for `remember` or
        `abandon`, each with the number of tokens after which it is computed."""
        announced: list[tuple[int, Key]] = []
        number = match.node
        for place in range(match.whole, _whole(prompt) + (not match.tail)):
            tokens = tuple(prompt[place * BLOCK : (place + 1) * BLOCK])
            if place == _whole(prompt) and len(tokens) == 1:
                break
            node = self._enter((number, tokens))
            if None in node.blocks:
                node.pending = True
                announced.append((place * BLOCK + len(tokens), (number, tokens)))
            number = node.number
        return announced

    def remember(self, key: Key, blocks: Sequence[int]) -> int:
        """What lies in `blocks`, of each group one, is computed; its node's number. What is cached already stays as it is."""
        node = self._enter(key)
        node.pending = False
        for group, block in enumerate(blocks):
            if node.blocks[group] is None:
                node.blocks[group] = block
                self._keys.setdefault(block, []).append((key, group))
        return node.number

    def abandon(self, key: Key) -> None:
        """What was announced will not be computed."""
        node = self._nodes.get(key)
        if node is not None:
            node.pending = False
            self._drop_empty(key, node)

    def clear(self) -> None:
        """Forget all cached text; blocks that are held stay held."""
        for block in [*self._keys]:
            self._forget(block)
        self._free += self._unheld
        self._unheld.clear()

    def _enter(self, key: Key) -> Node:
        if key not in self._nodes:
            self._nodes[key] = Node(self._next_node, [None] * len(self.windows))
            self._next_node += 1
        return self._nodes[key]

    def _forget(self, block: int) -> None:
        for key, group in self._keys.pop(block, []):
            node = self._nodes[key]
            node.blocks[group] = None
            self._drop_empty(key, node)

    def _drop_empty(self, key: Key, node: Node) -> None:
        if not node.pending and all(block is None for block in node.blocks):
            del self._nodes[key]


def _whole(prompt: list[int]) -> int:
    """The full blocks of `prompt` before its last token, which is always computed."""
    return (len(prompt) - 1) // BLOCK


def _first_seen(window: int | None, position: int) -> int:
    """The first block that a query at `position` sees."""
    return 0 if window is None else max(position - window + 1, 0) // BLOCK
