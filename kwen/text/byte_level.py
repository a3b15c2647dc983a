"""Byte-level BPE's two spellings: tokens as bytes (tiktoken) and as printable characters (Hugging Face), and the way between."""

from collections.abc import Mapping


def _alphabet() -> list[str]:
    """The printable character that stands for each byte 0..255 in Hugging Face vocabularies (GPT-2's mapping)."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


ALPHABET: list[str] = _alphabet()
_TO_ALPHABET = dict(enumerate(ALPHABET))
_TO_BYTE = {ord(character): byte for byte, character in enumerate(ALPHABET)}


def spell(token: bytes) -> str:
    """A token's bytes as the byte alphabet's characters: b" the" -> "Ġthe"."""
    return token.decode("latin-1").translate(_TO_ALPHABET)


def unspell(token: str) -> bytes:
    """The inverse of `spell`; an entry that is not in the byte alphabet (an unused row of a GGUF file) is its own UTF-8."""
    plain = token.translate(_TO_BYTE)
    return plain.encode("latin-1") if all(character in _TO_BYTE for character in map(ord, token)) else token.encode()


def recover_merges(ranks: Mapping[bytes, int]) -> list[tuple[bytes, bytes]]:
    """The merge list behind a rank file, in rank order: the two parts from which BPE itself would build each token.

    `ranks` maps a token's bytes to its rank (= id = merge priority); single bytes are not merges. A token that merges of
    lower rank cannot build is left out, as it can never appear in encoded text by merging.
    """
    merges = []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        parts = [token[at : at + 1] for at in range(len(token))]
        while len(parts) > 2:
            best, at = min((ranks.get(parts[i] + parts[i + 1], rank), i) for i in range(len(parts) - 1))
            if best >= rank:
                break
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        if len(parts) == 2:
            merges.append((parts[0], parts[1]))
    return merges
