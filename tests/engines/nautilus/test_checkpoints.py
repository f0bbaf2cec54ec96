"""Checkpoints of actors and strategies in Nautilus' own backtests."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from nautilus_trader.common.actor import Actor
from nautilus_trader.indicators import SimpleMovingAverage
from nautilus_trader.model.enums import OrderSide
from nautilus_trader.trading.strategy import Strategy

from backtest_mongo import InputError, InputTypeError, LeaseHeldError, LeaseLostError, StoreError
from backtest_mongo.integrations.nautilus import CheckpointMixin
from backtest_mongo.sync import lease, persist, transaction
from tests.engines.nautilus.support import (
    BARS,
    INSTRUMENT,
    MINUTE,
    QUIET,
    START,
    STORAGES,
    Framed,
    Witness,
    make_bars,
    make_engine,
    make_quotes,
    make_stream,
    make_trades,
    run_engine,
)
from tests.engines.nautilus.worker import release_leases

pytestmark = QUIET


class Counter(Framed, Strategy):
    """Counts bars, and stores nothing unless it is told to."""

    def __init__(self, frame: str = "") -> None:
        super().__init__()
        self.frame = frame
        self.bars: list[int] = []

    def on_start(self) -> None:
        self.subscribe_bars(BARS)

    def on_bar(self, bar: Any) -> None:
        self.bars.append(bar.ts_event)

    def on_save(self) -> dict[str, bytes]:
        return {"bars": ",".join(map(str, self.bars)).encode()}

    def on_load(self, state: dict[str, bytes]) -> None:
        self.bars = [int(bar) for bar in state["bars"].decode().split(",") if bar]


class Failing(Witness):
    """A witness whose callback fails at one event, after it has written."""

    fails_at = 0

    def take(self, event: str) -> None:
        super().take(event)
        if self.count == self.fails_at:
            raise ArithmeticError(event)


def open_session(actor: Any) -> Any:
    return persist.session(**actor.checkpoint_context())


def read(actor: Any) -> Any:
    return open_session(actor).read_session_data()


@STORAGES
def test_first_start_loads_nothing_and_each_event_is_stored(storage: str) -> None:
    run_engine(make_bars(5), witness := Witness())
    assert witness.loaded == 0
    assert witness.count == 5
    end = START + 5 * MINUTE
    assert read(witness) == {
        "state": {"count": b"5", "digest": witness.digest.encode()},
        "position": {"ts_init": end, "ts_event": end, "count": 1, "events": 5},
    }


@STORAGES
def test_second_run_goes_on_behind_the_last_event_of_the_first(storage: str) -> None:
    run_engine(make_stream(100)[:100], first := Witness())
    run_engine(make_stream(100), second := Witness())
    assert second.loaded == 1
    assert len(second.seen) == second.count - first.count
    run_engine(make_stream(100), third := Witness())
    assert (third.seen, third.count, third.digest) == ([], second.count, second.digest)


def test_context_is_the_strategy_its_trader_and_the_kind_of_run(local: None) -> None:
    run_engine(make_bars(2), counter := Counter())
    assert counter.checkpoint_context() == {
        "strategy_name": "Counter-000",
        "exchange_name": "nautilus",
        "frame_name": "BACKTESTER-001",
        "symbol": "",
        "backtest": True,
    }


def test_runs_with_contexts_of_their_own_don_t_see_each_other(local: None) -> None:
    for frame in ("2023", "2024"):
        run_engine(make_bars(3), witness := Witness(frame))
        assert len(witness.seen) == 3


def test_without_being_told_nothing_is_stored(local: None) -> None:
    run_engine(make_bars(5), counter := Counter())
    assert len(counter.bars) == 5
    assert read(counter) is None


def test_events_after_the_last_checkpoint_are_handled_again(local: None) -> None:
    class Third(Counter):
        def on_bar(self, bar: Any) -> None:
            super().on_bar(bar)
            if len(self.bars) == 3:
                self.checkpoint()

    run_engine(make_bars(5), Third())
    run_engine(make_bars(5), counter := Third())
    times = [bar.ts_event for bar in make_bars(5)]
    assert counter.bars == times
    run_engine(make_bars(5), again := Third(), start=times[3])
    assert again.bars == times


@STORAGES
def test_event_whose_callback_fails_leaves_nothing_and_comes_again(storage: str) -> None:
    failing = Failing()
    failing.fails_at = 31
    with pytest.raises(ArithmeticError):
        run_engine(make_stream(40), failing)
    notes = persist.memory("witness", "notes")
    assert [key for key, _ in notes.list_memory_data()] == [f"{number:06}" for number in range(1, 31)]
    assert read(failing)["state"]["count"] == b"30"
    run_engine(make_stream(40), after := Failing())
    run_engine(make_stream(40), undisturbed := Witness("other"))
    assert (after.count, after.digest) == (undisturbed.count, undisturbed.digest)
    assert after.seen == undisturbed.seen[30:]


@pytest.mark.parametrize("fails_at", range(1, 8))
def test_events_of_one_time_are_told_apart(fails_at: int, local: None) -> None:
    end = [START + MINUTE] * 3
    data = [*make_bars(1), *make_trades(3, end), *make_quotes(3, end)]
    failing = Failing()
    failing.fails_at = fails_at
    with pytest.raises(ArithmeticError):
        run_engine(data, failing)
    run_engine(data, after := Failing())
    assert after.count == 7
    assert [*failing.seen[:-1], *after.seen] == [*failing.seen, *after.seen[1:]]
    assert len(after.seen) == 8 - fails_at


def test_after_a_callback_has_failed_no_event_is_handled_and_nothing_stored(local: None) -> None:
    class Stubborn(Counter):
        def on_bar(self, bar: Any) -> None:
            super().on_bar(bar)
            if len(self.bars) == 3:
                raise ArithmeticError
            self.checkpoint()

        def on_stop(self) -> None:
            self.checkpoint()

    engine = make_engine(make_bars(5), stubborn := Stubborn())
    with pytest.raises(ArithmeticError):
        engine.run()
    stubborn.handle_bar(make_bars(5)[4])
    engine.end()
    assert len(stubborn.bars) == 3
    assert read(stubborn)["position"]["events"] == 2
    engine.dispose()


def test_what_a_transaction_of_one_s_own_drops_is_not_stored(local: None) -> None:
    class Dropping(Counter):
        def on_bar(self, bar: Any) -> None:
            super().on_bar(bar)
            if len(self.bars) != 2:
                return
            try:
                with transaction(when=bar.ts_event // 1_000_000):
                    persist.memory("dropping", "notes").write_memory_data({}, "a")
                    self.checkpoint()
                    raise LookupError
            except LookupError:
                pass

    run_engine(make_bars(3), dropping := Dropping())
    assert read(dropping) is None
    assert not list(persist.memory("dropping", "notes").list_memory_data())


def test_write_in_a_callback_has_the_clock_s_time(local: None) -> None:
    class Noting(Counter):
        checkpoint_every_event = True

        def on_bar(self, bar: Any) -> None:
            super().on_bar(bar)
            notes = persist.memory("noting", "notes")
            notes.write_memory_data({"number": len(self.bars)}, "latest")
            assert notes.read_memory_data("latest") == {"number": len(self.bars)}

    run_engine(make_bars(3), noting := Noting())
    end = (START + 3 * MINUTE) // 1_000_000
    session, notes = open_session(noting), persist.memory("noting", "notes")
    assert session.read_session_data(end)["position"]["events"] == 3
    assert session.read_session_data(end - 1) is None
    assert notes.read_memory_data("latest", end) == {"number": 3}
    assert notes.read_memory_data("latest", end - 1) is None


# Leases


@STORAGES
def test_strategy_that_runs_elsewhere_does_not_start(storage: str) -> None:
    errors: list[LeaseHeldError] = []

    class First(Counter):
        def on_bar(self, bar: Any) -> None:
            super().on_bar(bar)
            if len(self.bars) == 1:
                with pytest.raises(LeaseHeldError) as caught:
                    run_engine(make_bars(3), Counter("twins"))
                errors.append(caught.value)

        def checkpoint_context(self) -> Any:
            return {**super().checkpoint_context(), "strategy_name": "Counter-000"}

    run_engine(make_bars(3), first := First("twins"))
    assert len(first.bars) == 3
    assert "Counter-000" in str(errors[0])


@STORAGES
def test_lease_is_given_back_when_the_strategy_stops_or_fails_to_start(storage: str) -> None:
    class Refusing(Counter):
        def on_start(self) -> None:
            raise PermissionError

    with pytest.raises(PermissionError):
        run_engine(make_bars(1), Refusing())
    for _ in range(2):
        run_engine(make_bars(1), counter := Counter())
    with lease(open_session(counter)), lease(persist.session("Refusing-000", "nautilus", "BACKTESTER-001", "", True)):
        pass


def test_owner_that_has_lost_its_lease_stores_nothing_any_more(local: None) -> None:
    class Robbed(Witness):
        def take(self, event: str) -> None:
            super().take(event)
            if self.count == 3:
                release_leases(open_session(self))

    robbed = Robbed()
    with pytest.raises(LeaseLostError):
        run_engine(make_bars(5), robbed)
    assert read(robbed)["state"]["count"] == b"2"
    assert len(list(persist.memory("witness", "notes").list_memory_data())) == 2


@STORAGES
def test_many_checkpoints_are_committed_together(storage: str) -> None:
    class Fast(Witness):
        checkpoint_lease = {"commit_every": 16, "max_delay": 60.0}  # noqa: RUF012  # as its users write it

    run_engine(make_stream(30), fast := Fast())
    assert read(fast)["state"]["count"] == str(fast.count).encode() == b"94"
    assert len(list(persist.memory("witness", "notes").list_memory_data())) == 94


# What is skipped


class Averaging(Counter):
    """Has a registered indicator, whose values it keeps."""

    checkpoint_every_event = True

    def __init__(self, frame: str = "") -> None:
        super().__init__(frame)
        self.average = SimpleMovingAverage(10)
        self.values: list[float] = []
        self.historical: list[Any] = []

    def on_start(self) -> None:
        self.register_indicator_for_bars(BARS, self.average)
        super().on_start()

    def on_bar(self, bar: Any) -> None:
        super().on_bar(bar)
        self.values.append(self.average.value)

    def on_historical_data(self, data: Any) -> None:
        self.historical.append(data)


def test_registered_indicator_sees_skipped_events_and_sees_them_once(local: None) -> None:
    run_engine(make_bars(20), first := Averaging())
    run_engine(make_bars(40), second := Averaging())
    assert second.historical == []
    run_engine(make_bars(40), whole := Averaging("other"))
    assert first.values + second.values == whole.values


def test_historical_data_is_not_counted(local: None) -> None:
    class Asking(Averaging):
        def on_bar(self, bar: Any) -> None:
            super().on_bar(bar)
            Strategy.handle_historical_data(self, bar)
            self.handle_historical_data(bar)

    run_engine(make_bars(3), asking := Asking())
    assert len(asking.historical) == 6
    assert read(asking)["position"]["events"] == 3


def test_callback_of_a_timer_can_tell_that_events_are_skipped(local: None) -> None:
    class Timed(Counter):
        checkpoint_every_event = True

        def __init__(self) -> None:
            super().__init__()
            self.replays: list[bool] = []

        def on_start(self) -> None:
            super().on_start()
            self.clock.set_timer("own", timedelta(minutes=1), callback=self.on_own)

        def on_own(self, event: Any) -> None:
            self.replays.append(self.is_replaying)

    run_engine(make_bars(4), first := Timed())
    run_engine(make_bars(6), second := Timed())
    # The timer starts with the first bar. The last time event of the first run comes after its last checkpoint.
    assert first.replays == [False] * 3
    assert second.replays == [True, True, False, False, False]
    assert not second.is_replaying


def test_order_events_are_part_of_the_state_and_not_of_the_position(local: None) -> None:
    class Trading(Counter):
        checkpoint_every_event = True

        def __init__(self) -> None:
            super().__init__()
            self.filled = 0

        def on_bar(self, bar: Any) -> None:
            super().on_bar(bar)
            order = self.order_factory.market(INSTRUMENT.id, OrderSide.BUY, INSTRUMENT.make_qty(0.5))
            self.submit_order(order)

        def on_order_filled(self, event: Any) -> None:
            self.filled += 1

        def on_save(self) -> dict[str, bytes]:
            return {**super().on_save(), "filled": str(self.filled).encode()}

    run_engine([*make_bars(4), *make_quotes(4, [START + 1 + MINUTE * n for n in range(4)])], trading := Trading())
    stored = read(trading)
    assert trading.filled >= 4
    assert stored["state"]["filled"] == str(trading.filled).encode()
    assert stored["position"]["events"] == 4


@pytest.mark.parametrize("every_event", [True, False])
def test_strategy_that_stops_itself_in_a_callback_stores_that_event(every_event: bool, local: None) -> None:
    class Stopping(Counter):
        checkpoint_every_event = every_event

        def on_bar(self, bar: Any) -> None:
            super().on_bar(bar)
            if len(self.bars) == 2:
                self.stop()

        def on_stop(self) -> None:
            if not every_event:
                self.checkpoint()

    run_engine(make_bars(4), stopping := Stopping())
    assert len(stopping.bars) == 2
    assert read(stopping)["position"]["events"] == 2
    with lease(open_session(stopping)):
        pass
    run_engine(make_bars(4), again := Stopping())
    assert [len(again.bars), read(again)["position"]["events"]] == [4, 4]


def test_signal_that_a_callback_sends_to_itself_is_part_of_the_event(local: None) -> None:
    class Signalling(Counter):
        checkpoint_every_event = True

        def __init__(self) -> None:
            super().__init__()
            self.signals: list[int] = []

        def on_start(self) -> None:
            super().on_start()
            self.subscribe_signal("seen")

        def on_bar(self, bar: Any) -> None:
            super().on_bar(bar)
            self.publish_signal("seen", len(self.bars), bar.ts_event)

        def on_signal(self, signal: Any) -> None:
            self.signals.append(signal.value)

    run_engine(make_bars(2), first := Signalling())
    assert read(first)["position"]["events"] == 2
    run_engine(make_bars(4), second := Signalling())
    assert (first.signals, second.signals) == ([1, 2], [3, 4])
    assert read(second)["position"]["events"] == 4


def test_actor_has_checkpoints_too(local: None) -> None:
    class Watcher(CheckpointMixin, Actor):
        checkpoint_every_event = True

        def __init__(self) -> None:
            super().__init__()
            self.count = 0

        def on_start(self) -> None:
            self.subscribe_bars(BARS)

        def on_bar(self, bar: Any) -> None:
            self.count += 1

        def on_save(self) -> dict[str, bytes]:
            return {"count": str(self.count).encode()}

        def on_load(self, state: dict[str, bytes]) -> None:
            self.count = int(state["count"])

    for minutes in (3, 8):
        run_engine(make_bars(minutes), watcher := Watcher())
        assert watcher.count == minutes
        assert read(watcher)["position"]["events"] == minutes


def test_strategies_of_one_engine_have_leases_and_checkpoints_of_their_own(local: None) -> None:
    run_engine(make_bars(7), witness := Witness(), counter := Averaging())
    assert read(witness)["state"]["count"] == b"7"
    assert read(counter)["position"]["events"] == 7


async def test_where_an_event_loop_runs_checkpoints_are_stored_as_well(local: None) -> None:
    run_engine(make_bars(3), averaging := Averaging())
    found = await asyncio.to_thread(read, averaging)
    assert found["position"]["events"] == 3


# Bad input


def test_checkpoint_needs_a_strategy_that_is_started(local: None) -> None:
    engine = make_engine(make_bars(1), counter := Counter())
    with pytest.raises(InputError, match=r"^Counter-000 is not started, so it has no checkpoint to store"):
        counter.checkpoint()
    engine.run()
    with pytest.raises(InputError):
        counter.checkpoint()
    engine.dispose()


@pytest.mark.parametrize("state", [None, {"a": "text"}, {1: b""}, [b"a"]])
def test_state_of_another_type_is_refused(state: Any, local: None) -> None:
    class Wrong(Counter):
        refusals = 0

        def on_save(self) -> Any:
            return state

        def on_bar(self, bar: Any) -> None:
            with pytest.raises(
                InputTypeError, match=r"^on_save\(\) of Wrong-000 must return a dict of texts with bytes"
            ):
                self.checkpoint()
            self.refusals += 1

    run_engine(make_bars(2), wrong := Wrong())
    assert wrong.refusals == 2
    assert read(wrong) is None


@pytest.mark.parametrize(
    "stored", [{"data": {"ticks": 20}}, {"state": {"a": 1.5}, "position": {}}, {"state": [], "position": None}]
)
def test_row_that_is_no_checkpoint_is_an_error(stored: Any, local: None) -> None:
    run_engine(make_bars(1), counter := Counter())
    open_session(counter).write_session_data(stored, when=1)
    with pytest.raises(StoreError, match="what is stored is no checkpoint: "):
        run_engine(make_bars(1), Counter())
    with lease(open_session(counter)):
        pass


def test_json_files_have_no_checkpoints(tmp_path: Any) -> None:
    persist.use_files(tmp_path / "dump")
    with pytest.raises(StoreError, match="JSON files have no transactions and no leases"):
        run_engine(make_bars(1), Counter())
