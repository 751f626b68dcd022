"""Text of a search query to a flat list of tokens and groups.

MLflow reads its queries with a tolerant SQL tokenizer that never fails: it groups what looks like `left operator
right` into a comparison and leaves the rest as it is, to be named in the error. The shapes here follow that
behaviour, so that the same texts are accepted and the same clauses are named when they are not.
"""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import Enum, auto


class Kind(Enum):
    """What a token or group is."""

    NAME = auto()  # bare word, `in backticks` or [in brackets]
    PLACEHOLDER = auto()  # ?, %s, $1 and :name mean nothing here
    SYMBOL = auto()  # "in double quotes": a name or a value, depending on its place
    STRING = auto()  # 'in single quotes'
    INTEGER = auto()
    FLOAT = auto()
    HEXADECIMAL = auto()
    KEYWORD = auto()
    ORDER = auto()  # ASC, DESC
    COMPARATOR = auto()
    OPERATOR = auto()
    WILDCARD = auto()
    PUNCTUATION = auto()
    COMMENT = auto()
    OTHER = auto()
    # groups
    PARENTHESIS = auto()
    FUNCTION = auto()
    IDENTIFIER = auto()
    OPERATION = auto()
    COMPARISON = auto()
    LIST = auto()


@dataclass(frozen=True, slots=True)
class Token:
    """A token or a group of tokens.

    Attributes:
        text: the piece of the query, spaces inside groups included.
        start, end: where it lies in the query.
        parts: the two or three parts of a COMPARISON, else empty.
    """

    kind: Kind
    text: str
    start: int
    end: int
    parts: tuple["Token", ...] = ()


#: Longer queries are refused: unclosed comments and nested parentheses cost more than linear time.
_MOST_TOKENS = 10_000
_MOST_LETTERS = 1 << 18

_WORDS_THAT_ARE_NEVER_NAMES = frozenset(
    re.findall(
        r"\w+",
        """
    ALL AND ANALYZE ANY AS BEGIN BETWEEN BY CASE CAST COLLATE COLUMN CREATE CROSS CURRENT_DATE
    CURRENT_TIME CURRENT_TIMESTAMP DEFAULT DELETE DISTINCT DROP ELSE END ESCAPE EXCEPT EXISTS FALSE
    FETCH FOR FROM FULL GROUP HAVING IF IN INNER INSERT INTERSECT INTO IS JOIN KEY LEFT LIMIT METHOD
    MODE MODEL NATURAL NOT NULL OFFSET ON OR ORDER OUTER PARAMETER PARAMETERS RIGHT SELECT SESSION SET
    SIZE SOURCE STATE TABLE THEN TO TRUE TYPE UNION UNIQUE UNKNOWN UPDATE USER USING VALUES VERSION VIEW
    WHEN WHERE WHILE WITH
    """,
    )
)

_LEXER = re.compile(
    r"""
      (?P<COMMENT> (?:--|\#\ ).*?(?:\r\n|\r|\n|$) | /\*.*?\*/ )
    | (?P<SPACE> \s+ )
    | (?P<WILDCARD> \* )
    | (?P<QUOTED> `(?:``|[^`])*` )
    | (?P<PLACEHOLDER> \? | %(?:\(\w+\))?s | (?<!\w)[$:?]\w+ )
    | (?P<COMMAND> \\\w+ )
    | (?P<RESERVED> (?:CASE|IN|VALUES|USING|FROM|AS)\b )
    | (?P<VARIABLE> (?:@|\#\#|\#)[A-ZÀ-Ü]\w+ )
    | (?P<NAME> [A-ZÀ-Ü]\w*(?=\s*\.(?!\d)) | (?<=\.)[A-ZÀ-Ü]\w* | [A-ZÀ-Ü]\w*(?=\() )
    | (?P<HEXADECIMAL> -?0x[\dA-F]+ )
    | (?P<FLOAT> -?\d+(?:\.\d+)?E-?\d+ | (?![_A-ZÀ-Ü])-?(?:\d+\.\d*|\.\d+)(?![_A-ZÀ-Ü]) )
    | (?P<INTEGER> (?![_A-ZÀ-Ü])-?\d+(?![_A-ZÀ-Ü]) )
    | (?P<STRING> '(?:''|\\'|[^'])*' )
    | (?P<SYMBOL> "(?:""|\\"|[^"])*" )
    | (?P<BRACKETED> (?<![\w\])])\[[^\]\[]+\] )
    | (?P<NOTNULL> NOT\s+NULL\b )
    | (?P<ORDER> (?:ASC|DESC)(?:\s+NULLS\s+(?:FIRST|LAST))?\b | NULLS\s+(?:FIRST|LAST)\b )
    | (?P<LIKE> (?:NOT\s+)?(?:LIKE|ILIKE|RLIKE|REGEXP)\b )
    | (?P<WORD> \w[$\#\w]* )
    | (?P<PUNCTUATION> :: | [;:()\[\],.] )
    | (?P<ARROW> ->>? | \#>>? | @> | <@ | - )
    | (?P<COMPARATOR> [<>=~!]+ )
    | (?P<OPERATOR> [+/@\#%^&|^-]+ )
    | (?P<OTHER> . )
    """,
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)

_KINDS = {
    "COMMENT": Kind.COMMENT,
    "WILDCARD": Kind.WILDCARD,
    "QUOTED": Kind.NAME,
    "PLACEHOLDER": Kind.PLACEHOLDER,
    "COMMAND": Kind.OTHER,
    "RESERVED": Kind.KEYWORD,
    "VARIABLE": Kind.NAME,
    "NAME": Kind.NAME,
    "HEXADECIMAL": Kind.HEXADECIMAL,
    "FLOAT": Kind.FLOAT,
    "INTEGER": Kind.INTEGER,
    "STRING": Kind.STRING,
    "SYMBOL": Kind.SYMBOL,
    "BRACKETED": Kind.NAME,
    "NOTNULL": Kind.KEYWORD,
    "ORDER": Kind.ORDER,
    "LIKE": Kind.COMPARATOR,
    "PUNCTUATION": Kind.PUNCTUATION,
    "ARROW": Kind.OPERATOR,
    "COMPARATOR": Kind.COMPARATOR,
    "OPERATOR": Kind.OPERATOR,
    "OTHER": Kind.OTHER,
}

_DECIMALS = frozenset({Kind.INTEGER, Kind.FLOAT})
_NUMBERS = _DECIMALS | {Kind.HEXADECIMAL}
_VALUES = _DECIMALS | {Kind.STRING, Kind.SYMBOL, Kind.NAME, Kind.PLACEHOLDER}
_OPERANDS = _VALUES | {Kind.PARENTHESIS, Kind.FUNCTION, Kind.IDENTIFIER, Kind.OPERATION}
_MEMBERS = frozenset({Kind.NAME, Kind.SYMBOL, Kind.STRING, Kind.WILDCARD, Kind.FUNCTION})
_OWNERS = frozenset({Kind.NAME, Kind.SYMBOL, Kind.IDENTIFIER})
_ALIASABLE = _NUMBERS | {
    Kind.PARENTHESIS, Kind.FUNCTION, Kind.IDENTIFIER, Kind.OPERATION, Kind.COMPARISON,
}  # fmt: skip
_LISTABLE = _VALUES | {
    Kind.FUNCTION, Kind.IDENTIFIER, Kind.OPERATION, Kind.COMPARISON, Kind.LIST, Kind.KEYWORD, Kind.WILDCARD,
    Kind.COMMENT,
}  # fmt: skip


def group(text: str) -> list[Token]:
    """The tokens of `text` without white space, grouped into identifiers, comparisons and lists."""
    tokens = _parentheses(_scan(text), text)
    tokens = _functions(tokens, text)
    tokens = _members(tokens, text)
    names = (Kind.NAME, Kind.SYMBOL)
    tokens = [Token(Kind.IDENTIFIER, t.text, t.start, t.end) if t.kind in names else t for t in tokens]
    tokens = _orders(tokens, text)
    tokens = _infix(tokens, text, _is_operator, _OPERANDS, Kind.OPERATION)
    tokens = _comparisons(tokens, text)
    tokens = _infix(tokens, text, _is_as, _ALIASABLE | {Kind.STRING}, Kind.IDENTIFIER)
    tokens = _aliases(tokens, text)
    return _infix(tokens, text, _is_comma, _LISTABLE, Kind.LIST)


def statements(text: str) -> int:
    """How many statements `text` holds, separated by semicolons outside of quotes and parentheses.

    Raises ValueError when the text has more than 10,000 tokens or 262,144 letters.
    """
    tokens = _scan(text) if len(text) <= _MOST_LETTERS else []
    if len(tokens) > _MOST_TOKENS or len(text) > _MOST_LETTERS:
        raise ValueError(len(text))
    if not tokens:
        return 0
    depth, count, ended = 0, 1, False
    for token in tokens:
        if ended and token.kind is not Kind.COMMENT:
            count, ended = count + 1, False
        if token.kind is Kind.PUNCTUATION:
            depth += (token.text == "(") - (token.text == ")")
            ended = token.text == ";" and depth <= 0
    return count


def _scan(text: str) -> list[Token]:
    tokens = []
    for match in _LEXER.finditer(text):
        name = match.lastgroup or "OTHER"
        if name == "SPACE":
            continue
        piece = match.group()
        if name == "WORD":
            kind = Kind.KEYWORD if piece.upper() in _WORDS_THAT_ARE_NEVER_NAMES else Kind.NAME
        else:
            kind = _KINDS[name]
        tokens.append(Token(kind, piece, match.start(), match.end()))
    return tokens


def _join(kind: Kind, text: str, tokens: list[Token], parts: tuple[Token, ...] = ()) -> Token:
    start, end = tokens[0].start, tokens[-1].end
    return Token(kind, text[start:end], start, end, parts)


def _parentheses(tokens: list[Token], text: str) -> list[Token]:
    found: list[Token] = []
    opened: list[int] = []
    for token in tokens:
        found.append(token)
        if token.kind is not Kind.PUNCTUATION:
            continue
        if token.text == "(":
            opened.append(len(found) - 1)
        elif token.text == ")" and opened:
            at = opened.pop()
            found[at:] = [_join(Kind.PARENTHESIS, text, found[at:])]
    return found


def _functions(tokens: list[Token], text: str) -> list[Token]:
    found: list[Token] = []
    for token in tokens:
        if token.kind is Kind.PARENTHESIS and found and found[-1].kind in (Kind.NAME, Kind.PLACEHOLDER):
            found[-1] = _join(Kind.FUNCTION, text, [found[-1], token])
        else:
            found.append(token)
    return found


def _members(tokens: list[Token], text: str) -> list[Token]:
    """`owner.member` becomes one identifier; so does `owner.` without a member that could be one."""
    found: list[Token] = []
    at = 0
    while at < len(tokens):
        token = tokens[at]
        at += 1
        is_dot = token.kind is Kind.PUNCTUATION and token.text == "."
        if not (is_dot and found and found[-1].kind in _OWNERS):
            found.append(token)
            continue
        pieces = [found.pop(), token]
        if at < len(tokens) and tokens[at].kind in _MEMBERS:
            pieces.append(tokens[at])
            at += 1
        found.append(_join(Kind.IDENTIFIER, text, pieces))
    return found


def _orders(tokens: list[Token], text: str) -> list[Token]:
    found: list[Token] = []
    for token in tokens:
        before = found[-1].kind if found else None
        if token.kind is Kind.ORDER and (before is Kind.IDENTIFIER or before in _NUMBERS):
            found[-1] = _join(Kind.IDENTIFIER, text, [found[-1], token])
        else:
            found.append(token)
    return found


def _is_operator(token: Token) -> bool:
    return token.kind in (Kind.OPERATOR, Kind.WILDCARD)


def _is_as(token: Token) -> bool:
    return token.kind is Kind.KEYWORD and token.text.upper() == "AS"


def _is_comma(token: Token) -> bool:
    return token.kind is Kind.PUNCTUATION and token.text == ","


def _infix(
    tokens: list[Token], text: str, is_middle: Callable[[Token], bool], operands: Collection[Kind], kind: Kind
) -> list[Token]:
    found: list[Token] = []
    at = 0
    while at < len(tokens):
        token = tokens[at]
        at += 1
        fits = found and at < len(tokens) and is_middle(token)
        if fits and found[-1].kind in operands and tokens[at].kind in operands:
            found[-1] = _join(kind, text, [found[-1], token, tokens[at]])
            at += 1
        else:
            found.append(token)
    return found


def _is_comparand(token: Token) -> bool:
    return token.kind in _OPERANDS or (token.kind is Kind.KEYWORD and token.text.upper() == "NULL")


def _comparisons(tokens: list[Token], text: str) -> list[Token]:
    found: list[Token] = []
    at = 0
    while at < len(tokens):
        token = tokens[at]
        at += 1
        fits = token.kind is Kind.COMPARATOR and found and at < len(tokens)
        if fits and (_is_comparand(found[-1]) or found[-1].kind is Kind.COMPARISON) and _is_comparand(tokens[at]):
            parts = (found[-1], token, tokens[at])
            found[-1] = _join(Kind.COMPARISON, text, list(parts), parts)
            at += 1
        else:
            found.append(token)
    return found


def _aliases(tokens: list[Token], text: str) -> list[Token]:
    """Something followed by a bare identifier reads like `value alias` and becomes one identifier."""
    found: list[Token] = []
    at = 0
    while at < len(tokens):
        token = tokens[at]
        at += 1
        if token.kind in _ALIASABLE and at < len(tokens) and tokens[at].kind is Kind.IDENTIFIER:
            token = _join(Kind.IDENTIFIER, text, [token, tokens[at]])
            at += 1
        found.append(token)
    return found


def joined(tokens: list[Token]) -> list[Token]:
    """`name IN (…)`, `name NOT IN (…)` and `name IS [NOT] NULL` become comparisons.

    The scan takes three or four tokens at a time from each identifier that stands alone, and gives them back
    unchanged when they do not fit: such a query is refused anyway, and all its loose tokens are named.
    """
    found: list[Token] = []
    at = 0
    while at < len(tokens):
        first = tokens[at]
        if len(tokens) - at < 3:
            return [*found, *tokens[at:]]
        if first.kind is not Kind.IDENTIFIER:
            found.append(first)
            at += 1
            continue
        whole, used = _keyword_comparison(first, *tokens[at + 1 : at + 4])
        found += [whole] if whole is not None else tokens[at : at + used]
        at += used
    return found


def _keyword_comparison(
    first: Token, second: Token, third: Token, fourth: Token | None = None
) -> tuple[Token | None, int]:
    word = second.text.upper() if second.kind is Kind.KEYWORD else ""
    operator, value, used = "", None, 4
    if word == "IN" and third.kind is Kind.PARENTHESIS:
        operator, value, used = second.text, third, 3
    elif word == "IS" and third.kind is Kind.KEYWORD and third.text.upper() in ("NULL", "NOT NULL"):
        operator, used = f"IS {third.text.upper()}", 3
    elif word == "NOT" and third.text.upper() == "IN" and fourth and fourth.kind is Kind.PARENTHESIS:
        operator, value = "NOT IN", fourth
    if not operator:
        return None, used
    middle = Token(Kind.KEYWORD, operator, second.start, third.end)
    parts = (first, middle) if value is None else (first, middle, value)
    text = "".join(part.text for part in parts)
    return Token(Kind.COMPARISON, text, first.start, (value or middle).end, parts), used
