"""A full disk under the files: the error says what is wrong and where, and no unfinished file stays."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from backtest_mongo import SLOTS, StoreError, persist
from tests.support import uniform
from tests.support.uniform import WHEN


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Limit the size of this process's files: the system then refuses a write as it does on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)


@pytest.mark.parametrize("slot", [spec.name for spec in SLOTS])
@pytest.mark.parametrize("size", [0, 7])
async def test_full_disk_is_named_with_its_path_and_reason(tmp_path: Path, slot: str, size: int) -> None:
    persist.use_files(tmp_path)
    spec = next(spec for spec in SLOTS if spec.name == slot)
    adapter = getattr(persist, slot)(**uniform.context(spec, "x"))
    write = adapter.write_candles_data if spec.shape == "series" else partial(uniform.write, adapter)
    value = uniform.candles(1) if spec.shape == "series" else uniform.payload(spec)
    with largest_file(size), pytest.raises(StoreError) as caught:
        await write(value)
    text = str(caught.value)
    assert f"{slot}: writing failed: {os.strerror(27)}: {tmp_path}{os.sep}" in text  # EFBIG
    assert "None" not in text
    assert [names for _, _, names in os.walk(tmp_path) if names] == []


async def test_what_was_stored_stays_and_the_next_write_works(tmp_path: Path) -> None:
    persist.use_files(tmp_path)
    state = persist.state("signal-1", "notes")
    await state.write_state_data({"n": 1}, WHEN)
    with largest_file(3), pytest.raises(StoreError):
        await state.write_state_data({"n": 2}, WHEN)
    assert await state.read_state_data() == {"n": 1}
    await state.write_state_data({"n": 3}, WHEN)
    assert await state.read_state_data() == {"n": 3}


async def test_error_of_an_open_file_without_a_text_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    persist.use_files(tmp_path)

    def fail(descriptor: int) -> None:
        raise OSError

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoreError, match=rf"writing failed: OSError: {tmp_path}"):
        await persist.state("signal-1", "notes").write_state_data({"n": 1}, WHEN)
