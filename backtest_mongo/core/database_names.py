"""What the name of a database in MongoDB can be."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["LONGEST_NAME", "find_name_problem"]

#: The most bytes of a name.
LONGEST_NAME: Final = 63

#: What some server refuses; on Windows it is more than elsewhere.
_BAD: Final = re.compile(r'[/\\."$*<>:|?\s\x00-\x1f\x7f]')
_OF_THE_SERVER: Final = ("admin", "config", "local")


def find_name_problem(name: str) -> str | None:
    """Return why a text can't be the name of a database that is made, ``None`` if it can."""
    if not name:
        return "must not be empty"
    bad = _BAD.search(name)
    if bad is not None:
        return f'must not have white space, control characters or any of /\\."$*<>:|?, unlike {bad[0]!r}'
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "holds a lone surrogate, which is not valid Unicode"
    if size > LONGEST_NAME:
        return f"must have at most {LONGEST_NAME} bytes, not {size:,}"
    return f"must not be {name}, which is the server's own" if name.lower() in _OF_THE_SERVER else None
