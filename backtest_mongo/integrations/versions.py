"""Whether a package of others is there, in a version that is supported."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from backtest_mongo.core.wording import suggest_extra

__all__ = ["check_version"]


def check_version(
    package: str, first: tuple[int, int], end: tuple[int, int], *, module: str, user: str, extra: str
) -> None:
    """Refuse a package that is not installed, or in a version that is not supported.

    Args:
        package: its name on the package index.
        first: the first version that is supported.
        end: the first that is not.
        module: the package's module, for ``ImportError.name``.
        user: the module here that needs it.
        extra: the extra that installs it.

    Raises:
        ImportError: it is.
    """
    installed = _find_version(package)
    if installed is not None:
        numbers = tuple(int(part) if part.isdecimal() else 0 for part in installed.split(".")[:2])
        if first <= numbers < end:
            return
    found = "is not installed" if installed is None else f"{installed} is not supported"
    supported = " to before ".join(".".join(map(str, one)) for one in (first, end))
    raise ImportError(
        f"{package} {found}: {user} takes {supported}; {suggest_extra(extra)}, installs it",
        name=module,
    )


def _find_version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
