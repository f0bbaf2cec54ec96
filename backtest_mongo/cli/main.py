"""The entry point of ``backtest-mongo`` and of ``python -m backtest_mongo``."""

from __future__ import annotations

from backtest_mongo.cli.command_runner import require

__all__ = ["main"]


def main() -> None:
    """Run the command that the arguments name."""
    require("cli", "typer", "rich")
    from backtest_mongo.cli.app import build_app

    # The name is given: for `python -m` Click would derive one that no shell can complete.
    build_app()(prog_name="backtest-mongo")


if __name__ == "__main__":
    main()
