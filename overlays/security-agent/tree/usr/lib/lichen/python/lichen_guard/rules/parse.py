"""The language of conditions: Falco's.

::

    either  := both ("or" both)*
    both    := one ("and" one)*
    one     := "not" one | "(" either ")" | check | macro
    check   := field "exists" | field comparison word | field ("in" | "pmatch" | "intersects") words
    field   := name "." name ... ["[" argument "]"]
    words   := list | "(" [word ("," word)*] ")"
    word    := quoted text | anything without blanks, parentheses, commas, = and quotes
"""

from __future__ import annotations

import re

from .problems import Fault
from .text import Text
from .tree import And, Check, Name, Node, Not, Operand, Or, Spot

MOST_LETTERS = 64 << 10
MOST_DEPTH = 100
ONE_WORD = ("contains", "icontains", "bcontains", "startswith", "bstartswith", "endswith", "glob", "iglob", "regex")
MANY_WORDS = ("in", "pmatch", "intersects")

BLANKS = re.compile(r"[ \t\r\n\b]*")
FIELD = re.compile(r"[a-zA-Z]\w*(?:\.[a-zA-Z]\w*)+", re.ASCII)
IDENTIFIER = re.compile(r"[a-zA-Z]\w*", re.ASCII)
ARGUMENT = re.compile(r"""\[\s*(?:"([^"\n]*)"|'([^'\n]*)'|([^\[\]"'\s]+))\s*\]""")
SIGN = re.compile(r"==|=|!=|<=|<|>=|>")
OPERATOR = re.compile(rf"(?:{'|'.join((*ONE_WORD, *MANY_WORDS, 'exists'))})(?![\w.])", re.ASCII)
QUOTED = re.compile(r'"((?:\\.|[^"\\])*)"|' r"'((?:\\.|[^'\\])*)'", re.DOTALL)
BARE = re.compile(r"""[^()"'\s=,]+""")
ESCAPE = re.compile(r"\\(.)", re.DOTALL)
ESCAPED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
KEYWORDS = ("and", "or", "not", "exists", *ONE_WORD, *MANY_WORDS)


def parse(text: Text) -> Node:
    """The tree of a condition.

    Raises:
        Fault: it does not follow the language; with the place of the first letter that does not.
    """
    if len(text.value) > MOST_LETTERS:
        why = f"more than {MOST_LETTERS} letters"
        raise Fault(text.place(), "condition too long", why, "split it into macros or lists")
    return _Parser(text).whole()


class _Parser:
    """Recursive descent; ``at`` is always at a letter that is no blank, or at the end."""

    def __init__(self, text: Text) -> None:
        self.text = text
        self.at = 0
        self.depth = 0
        self.skip()

    def skip(self, to: int | None = None) -> None:
        blanks = BLANKS.match(self.text.value, self.at if to is None else to)
        self.at = blanks.end() if blanks else len(self.text.value)

    def take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Step over what fits the pattern here."""
        found = pattern.match(self.text.value, self.at)
        if found:
            self.skip(found.end())
        return found

    def take_word(self, word: str) -> bool:
        found = IDENTIFIER.match(self.text.value, self.at)
        if not found or found.group() != word or self.text.value.startswith((".", "["), found.end()):
            return False
        self.skip(found.end())
        return True

    def take_letter(self, letter: str) -> bool:
        if not self.text.value.startswith(letter, self.at):
            return False
        self.skip(self.at + 1)
        return True

    def fault(self, expected: str, remedy: str, at: int | None = None) -> Fault:
        at = self.at if at is None else at
        rest = self.text.value[at : at + 20].split("\n")[0]
        found = f"{rest!r} stands there" if rest else "the condition ends there"
        return Fault(self.text.place(at), f"{expected} expected", found, remedy)

    def whole(self) -> Node:
        tree = self.either()
        if self.at < len(self.text.value):
            raise self.fault("and, or, or the end", "combine conditions with and, or; put words with blanks in quotes")
        return tree

    def either(self) -> Node:
        parts = [self.both()]
        while self.take_word("or"):
            parts.append(self.both())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def both(self) -> Node:
        parts = [self.one()]
        while self.take_word("and"):
            parts.append(self.one())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def one(self) -> Node:
        self.depth += 1
        if self.depth > MOST_DEPTH:
            why = f"more than {MOST_DEPTH} levels of not and parentheses"
            raise Fault(self.text.place(self.at), "nested too deeply", why, "split the condition into macros")
        try:
            return self.one_inside()
        finally:
            self.depth -= 1

    def one_inside(self) -> Node:
        if self.take_word("not"):
            return Not(self.one())
        if self.take_letter("("):
            inner = self.either()
            if not self.take_letter(")"):
                raise self.fault("a closing parenthesis", "close the parenthesis, or write and, or before going on")
            return inner
        spot = Spot(self.text, self.at)
        field = self.take(FIELD)
        if field:
            return self.check(field.group(), spot)
        name = IDENTIFIER.match(self.text.value, self.at)
        if not name or name.group() in KEYWORDS:
            raise self.fault("a field, a macro, not, or a parenthesis", "write a comparison such as `proc.name = sh`")
        self.skip(name.end())
        if self.text.value.startswith("(", self.at):
            remedy = "compare the field itself; functions such as tolower() are not known here"
            raise self.fault("a comparison", remedy, spot.at)
        return Name(name.group(), spot)

    def check(self, field: str, spot: Spot) -> Check:
        argument = None
        if self.text.value.startswith("[", self.at):
            found = self.take(ARGUMENT)
            if not found:
                raise self.fault("an argument in brackets", "write it as in `proc.aname[2]`")
            argument = next(group for group in found.groups() if group is not None)
        found = self.take(SIGN)
        if found:
            operator = "=" if found.group() == "==" else found.group()
            return Check(field, argument, operator, (self.operand(),), spot)
        found = self.take(OPERATOR)
        if not found:
            remedy = "write one of = != < <= > >= exists " + " ".join((*MANY_WORDS, *ONE_WORD))
            raise self.fault("a comparison", remedy)
        operator = found.group()
        if operator == "exists":
            return Check(field, argument, operator, (), spot)
        operands = self.operands() if operator in MANY_WORDS else (self.operand(),)
        return Check(field, argument, operator, operands, spot)

    def operands(self) -> tuple[Operand, ...]:
        if not self.take_letter("("):
            spot = Spot(self.text, self.at)
            name = self.take(IDENTIFIER)
            if not name:
                raise self.fault("words in parentheses", "write (a, b) or the name of a list")
            return (Operand(name.group(), spot),)
        words: list[Operand] = []
        if self.take_letter(")"):
            return ()
        while True:
            words.append(self.operand())
            if self.take_letter(")"):
                return tuple(words)
            if not self.take_letter(","):
                raise self.fault("a comma or a closing parenthesis", "separate words by commas; quote what has blanks")

    def operand(self) -> Operand:
        spot = Spot(self.text, self.at)
        if self.text.value.startswith(('"', "'"), self.at):
            found = self.take(QUOTED)
            if not found:
                raise self.fault("a closing quote", 'close the quote; write \\" for a quote inside')
            word = found.group(1) if found.group(1) is not None else found.group(2)
            return Operand(ESCAPE.sub(lambda one: ESCAPED.get(one.group(1), one.group(1)), word), spot, quoted=True)
        found = self.take(BARE)
        if not found:
            raise self.fault("a word to compare with", "write a word, or a text in quotes")
        return Operand(found.group(), spot)
