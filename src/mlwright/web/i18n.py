"""Languages of the pages. A catalogue maps the English text to its translation; English needs none."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from starlette.requests import Request

_FOLDER = Path(__file__).parent / "locales"
#: Language tags and what each language calls itself. The first is the language of the source texts.
LANGUAGES: Mapping[str, str] = {"en": "English", "zh-TW": "繁體中文"}
COOKIE = "mlw-lang"


@cache
def catalogue(language: str) -> Mapping[str, str]:
    """English text → translation. Empty for English."""
    if language == "en":
        return {}
    found: dict[str, str] = json.loads((_FOLDER / f"{language}.json").read_text(encoding="utf-8"))
    return found


class Words:
    """Translates texts into one language.

    Args:
        language: one of LANGUAGES.
    """

    def __init__(self, language: str) -> None:
        self.language = language
        self._texts = catalogue(language)

    def __call__(self, text: str, **values: object) -> str:
        """The text in this language, with {names} replaced by values. Plain text: the template escapes it."""
        found = self._texts.get(text, text)
        return found.format(**values) if values else found

    def count(self, one: str, many: str, n: int) -> str:
        """`one` or `many` with {n} replaced; languages without plural use the translation of `many`."""
        text = one if n == 1 and self.language == "en" else many
        return self(text, n=f"{n:,}")

    def subset(self, texts: frozenset[str]) -> dict[str, str]:
        """The translations of some texts: what a script needs."""
        return {text: self._texts[text] for text in sorted(texts) if text in self._texts}


def language_of(request: Request) -> str:
    """?lang, then the cookie, then Accept-Language, then English."""
    for wanted in (request.query_params.get("lang"), request.cookies.get(COOKIE)):
        if wanted in LANGUAGES:
            return str(wanted)
    return from_header(request.headers.get("accept-language", ""))


def from_header(header: str) -> str:
    """The best language for an Accept-Language header. Any Chinese reader is better served with Chinese."""
    ranked: list[tuple[float, int, str]] = []
    for position, part in enumerate(header.split(",")[:20]):
        tag, _, parameters = part.strip().partition(";")
        quality = parameters.strip().removeprefix("q=")
        try:
            weight = float(quality) if quality else 1.0
        except ValueError:
            continue
        ranked.append((-weight, position, tag.lower()))
    for _, _, tag in sorted(ranked):
        main = tag.partition("-")[0]
        if main == "zh":
            return "zh-TW"
        if main == "en":
            return "en"
    return "en"
