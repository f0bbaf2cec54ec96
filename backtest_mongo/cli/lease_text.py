"""Leases as text: the words that name one on a command line, who holds it, and all of it for programs."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from backtest_mongo.cli.formatting import format_iso_time
from backtest_mongo.cli.stored_rows import parse_words
from backtest_mongo.core.slots import SLOTS
from backtest_mongo.core.specs import FLAG
from backtest_mongo.errors import InputError

if TYPE_CHECKING:
    from backtest_mongo.core.commits import Holder

__all__ = ["LEASED", "describe_holder", "describe_until", "format_lease", "holder_to_json", "parse_lease"]

#: The slots whose contexts can be leased.
LEASED: Final = {spec.name: spec for spec in SLOTS if not spec.is_candles}


def format_lease(holder: Holder) -> str:
    """Return the words that name a lease, quoted for a shell: the slot, and the values that its constructor takes.

    A lease of a slot that this library does not know is named by its id.
    """
    spec = LEASED.get(holder.slot)
    if spec is None or holder.context.keys() != set(spec.context_fields):
        return shlex.quote(holder.id)
    words = [holder.slot]
    for name, field in zip(spec.context, spec.context_fields, strict=True):
        value = holder.context[field]
        words.append(("backtest" if value else "live") if name == FLAG else str(value))
    return shlex.join(words)


def parse_lease(name: str, values: Sequence[str]) -> str:
    """Return the id of the lease that the words of a command line name.

    Args:
        name: a slot, or the id of a lease.
        values: the values of the slot's context, in the order of its constructor's arguments, or as ``NAME=VALUE``.

    Raises:
        InputError: they can't name a lease.
    """
    spec = LEASED.get(name)
    if spec is None:
        lease = None if values else _parse_id(name)
        if lease is None:
            raise InputError(
                f"{name!r} is neither the id of a lease nor one of {', '.join(LEASED)}",
                hint="name a lease as `backtest-mongo leases` prints it",
            )
        return lease
    # Here, as help needs nothing of a driver.
    from backtest_mongo.core.commits import name_lease

    given = parse_words(spec, values, spec.context, any_word=False)
    try:
        context = spec.bind((), given)
    except TypeError as error:
        raise InputError(str(error)) from None
    return name_lease(spec, spec.order_context(context))


def _parse_id(text: str) -> str | None:
    """Return the id of a lease as the database has it, ``None`` if it is none; spaces in its list don't matter."""
    slot, bracket, rest = text.partition("[")
    try:
        context = json.loads(bracket + rest)
    except (ValueError, RecursionError):
        return None
    return f"{slot}{json.dumps(context, ensure_ascii=False)}" if slot else None


def describe_holder(holder: Holder) -> str:
    """Return who holds a lease, and since when."""
    return f"process {holder.process} on {holder.host} since {format_iso_time(holder.since)}"


def describe_until(holder: Holder) -> str:
    """Return until when a lease lasts, or that this is over."""
    return f"{'expired ' if holder.is_expired else ''}{format_iso_time(holder.until)}"


def holder_to_json(holder: Holder) -> dict[str, Any]:
    """Return all of a lease, with times in milliseconds."""
    # Whatever another program has put there.
    context = {name: value if isinstance(value, str | bool) else str(value) for name, value in holder.context.items()}
    return {
        "lease": holder.id,
        "slot": holder.slot,
        "context": context,
        "host": holder.host,
        "process": holder.process,
        "since": holder.since,
        "until": holder.until,
        "expired": holder.is_expired,
        "owner": holder.owner,
    }
