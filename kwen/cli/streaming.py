"""Writing a model's words to standard output as they come."""

from typing import TextIO

_PICTURES = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"}
_PICTURES |= dict.fromkeys([*range(0x7F, 0xA0), 0x202A, 0x202B, 0x202C, 0x202D, 0x202E, *range(0x2066, 0x206A)], 0xFFFD)


class PieceWriter:
    """Writes pieces at once, each flushed.

    On a terminal, control characters become visible signs: a model's output must not move the cursor, set a title, or turn
    the direction of the text around. Elsewhere the text is written as it is. `indent` stands before every line but the first.
    """

    def __init__(self, out: TextIO, indent: str = "") -> None:
        self._out, self._terminal, self._indent = out, out.isatty(), indent

    def write(self, piece: str) -> None:
        """Write one piece."""
        text = piece.translate(_PICTURES) if self._terminal else piece
        self._out.write(text.replace("\n", "\n" + self._indent) if self._indent else text)
        self._out.flush()

    def end(self) -> None:
        """End the text with a line end."""
        self._out.write("\n")
        self._out.flush()
