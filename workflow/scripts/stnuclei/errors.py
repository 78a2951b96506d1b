"""The exception of a user's mistake, and the wording that all such messages share."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Sequence

#: How alike two names must be (difflib's ratio) to suggest one for the other: two letters of four.
_ALIKE = 0.5
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*$")


class UserError(Exception):
    """A mistake in the user's input, described in one clear sentence.

    The text names the sample, the file or the column, says what is wrong and what to do. Whoever runs the
    package as a program prints it without a traceback.
    """


class MachineError(UserError):
    """A `UserError` that may pass by itself: network, full disk, a folder in use. Such a job is worth another try."""


def suggestion(name: object, known: Collection[str]) -> str:
    """Suggest the known name nearest to an unknown one; list all names where none is near."""
    by_case = {candidate.casefold(): candidate for candidate in known}
    near = difflib.get_close_matches(str(name).casefold(), by_case, n=1, cutoff=_ALIKE)
    return f"did you mean {by_case[near[0]]!r}?" if near else f"known: {', '.join(known) or 'none'}"


def refuse(subject: str, problems: Sequence[str]) -> None:
    """Raise one error that lists all problems, one a line, each once; return where there is none.

    Raises
    ------
    UserError
        ``{subject} has {n} problem(s):`` and the list.
    """
    distinct = list(dict.fromkeys(problems))
    if distinct:
        listing = "\n".join(f"  - {problem}" for problem in distinct)
        raise UserError(f"{subject} has {len(distinct)} problem(s):\n{listing}")


def first_line(error: BaseException, most: int = 120) -> str:
    """First line of an error's text, its type where it has none: libraries' errors fill pages."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:most]


def is_file_name(name: str) -> bool:
    """True if a name can safely be a file's or folder's: letters, digits, ``_``, ``-`` and ``.``."""
    return bool(_FILE_NAME.match(name))
