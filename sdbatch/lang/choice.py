"""Which language error lines are in: `lang=`, else SDBATCH_LANG, else the locale."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

_VARIABLE = "SDBATCH_LANG"
_LOCALE = ("LC_ALL", "LC_MESSAGES", "LANG")
"""The first that is set and not empty counts, as for every other program."""
_KNOWN = ("en", "zh")

_asked = "auto"
"""What the config says; the language of a process, like its locale, is no argument of functions."""


def ask(lang: str) -> None:
    """Take `lang` (auto, en or zh) as the config's wish from now on."""
    global _asked
    _asked = lang


def ask_as_typed(arguments: Sequence[str]) -> None:
    """Take the wish off a raw command line, for errors before there is a config.

    What a task of a launch says is read by `status` and by Ray's driver, so it says it in English.
    """
    words = [word.lstrip("+") for word in arguments]
    given = [word.removeprefix("lang=").strip("'\"") for word in words if word.startswith("lang=")]
    ask("en" if "launcher=task" in words else (given or ["auto"])[-1])


def language(asked: str, environment: Mapping[str, str]) -> str:
    """`en` or `zh`."""
    for wish in (asked, environment.get(_VARIABLE)):
        if wish in _KNOWN:
            return wish
    locale = next(filter(None, map(environment.get, _LOCALE)), "")
    return "zh" if locale.lower().startswith("zh") else "en"


def localized(line: str) -> str:
    """An English line of error in the language that is asked for.

    English stays where the catalogue does not know the line, or stderr cannot show Chinese.
    """
    if language(_asked, os.environ) == "en" or not _shows_chinese():
        return line
    from sdbatch.lang.catalogue import catalogue  # read only for who needs it

    return catalogue().translated(line)


def _shows_chinese() -> bool:
    try:
        "中".encode(getattr(sys.stderr, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
