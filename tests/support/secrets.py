"""A password that no error may show, and how to look for it."""

from __future__ import annotations

import traceback
from typing import Final

SECRET: Final = "s3cr3t-0123"


def assert_no_secret(error: BaseException) -> None:
    """Check that neither an error, its fields, its traceback nor its causes show the password."""
    text = "".join(traceback.TracebackException.from_exception(error, capture_locals=False).format())
    assert SECRET not in text
    assert SECRET not in repr(error) + repr(vars(error))
    assert error.__cause__ is None
    assert error.__context__ is None
