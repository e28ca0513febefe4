"""Text of hostile origin, made fit for terminals, journals and people."""

from __future__ import annotations

CUT = "…"


def escape(text: str, limit: int = 4096) -> str:
    r"""The text with everything that does not print as itself written out, at most ``limit`` characters long.

    Control characters (ESC among them), bytes that are no UTF-8, marks that turn the writing direction and other
    characters without a shape become ``\xNN`` or ``\uNNNN``. A backslash stays what it is, so escaping twice is the
    same as escaping once.
    """
    # What is cut off below is not worth escaping: a hostile argument may have kilobytes.
    text = text[: limit + 1]
    if not text.isprintable():
        text = "".join(letter if letter.isprintable() else _written_out(letter) for letter in text)
    return text if len(text) <= limit else text[: limit - 1] + CUT


def _written_out(letter: str) -> str:
    number = ord(letter)
    if 0xDC80 <= number <= 0xDCFF:  # a byte that surrogateescape kept
        number -= 0xDC00
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
