"""The driver's errors: which are retried, which are answers, and what this library makes of each."""

from __future__ import annotations

from typing import Any

import pytest
from bson.errors import InvalidBSON
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ConfigurationError,
    DocumentTooLarge,
    DuplicateKeyError,
    ExecutionTimeout,
    InvalidOperation,
    NetworkTimeout,
    NotPrimaryError,
    OperationFailure,
    ServerSelectionTimeoutError,
    WaitQueueTimeoutError,
    WriteConcernError,
    WTimeoutError,
)

from backtest_mongo import SLOTS
from backtest_mongo.connection.driver_errors import (
    describe_error,
    is_answer,
    is_transient,
    make_not_primary_error,
    make_unanswered_error,
    strip_frames,
    translate_error,
)
from backtest_mongo.core.specs import SlotSpec
from backtest_mongo.errors import (
    BacktestMongoError,
    IndexConflictError,
    InputError,
    StoreError,
    StoreUnavailableError,
)

BY_NAME = {spec.name: spec for spec in SLOTS}
STATE, RECENT = BY_NAME["state"], BY_NAME["recent"]
FORMER = next(spec for spec in SLOTS if spec.former)
KEY = {"signalId": "s", "bucketName": "b"}
HOSTS = "db:27017"

SHUTDOWN = 91
#: The server's codes that ask to be tried again, and some that don't.
TRANSIENT = (6, 7, 43, 89, 91, 134, 175, 189, 237, 262, 9001, 10107, 11600, 11602, 13435, 13436)
LASTING = (2, 11, 13, 18, 52, 64, 112, 11000)


def refusal(code: int | None, **details: Any) -> OperationFailure:
    return OperationFailure("the server's text", code, {"code": code, **details})


def bulk(*codes: int, concerns: tuple[int, ...] = ()) -> BulkWriteError:
    return BulkWriteError(
        {
            "writeErrors": [{"index": index, "code": code} for index, code in enumerate(codes)],
            "writeConcernErrors": [{"code": code} for code in concerns],
        }
    )


@pytest.mark.parametrize("code", TRANSIENT)
def test_server_that_can_t_serve_just_now_is_asked_again(code: int) -> None:
    assert is_transient(refusal(code))
    assert is_transient(bulk(code))
    assert is_transient(bulk(11000, code))
    assert is_transient(bulk(concerns=(64, code)))
    assert not is_answer(refusal(code))


@pytest.mark.parametrize("code", LASTING)
def test_refusal_is_an_answer(code: int) -> None:
    assert not is_transient(refusal(code))
    assert not is_transient(bulk(code, code, concerns=(64,)))
    assert is_answer(refusal(code))


def test_lost_connection_is_tried_again_and_no_server_at_all_is_not() -> None:
    for error in (AutoReconnect("x"), NetworkTimeout("x"), NotPrimaryError("x"), WaitQueueTimeoutError("x")):
        assert is_transient(error)
        assert not is_answer(error)
    for other in (ServerSelectionTimeoutError("x"), ConfigurationError("x"), InvalidBSON("x"), ValueError("x")):
        assert not is_transient(other)
        assert not is_answer(other)
    assert not is_transient(OperationFailure("x"))
    assert is_answer(OperationFailure("x"))


def test_standalone_that_refuses_the_driver_s_retry_is_asked_anew() -> None:
    assert is_transient(refusal(20, errmsg="Transaction numbers are only allowed on a replica set member or mongos"))
    assert not is_transient(refusal(20, errmsg="not: Transaction numbers"))
    assert not is_transient(refusal(20, errmsg=None))


def test_write_that_only_waits_to_be_durable_is_an_answer() -> None:
    assert is_answer(WriteConcernError("x", SHUTDOWN, {}))
    assert is_answer(WTimeoutError("x", 64, {}))
    assert is_answer(bulk(concerns=(SHUTDOWN,)))
    assert is_answer(bulk(11000, concerns=(SHUTDOWN,)))
    assert not is_answer(bulk(11000, SHUTDOWN, concerns=(64,)))
    assert not is_answer(refusal(50))  # the time was up


WRITING = "writing 3 rows"
READING = "reading"
CHECK = "is it running, and is CC_MONGO_CONNECTION_STRING right?"
AGAIN = "it may or may not have been applied; repeat it to be sure"


def translate(error: Exception, doing: str = READING, spec: SlotSpec = STATE, level: str = "majority") -> Any:
    translated = translate_error(error, doing, spec, KEY, HOSTS, level)
    assert (translated.slot, translated.collection, translated.key) == (spec.name, spec.collection, KEY)
    assert translated.message.startswith(f"{doing} failed: ")
    return translated


def parts(error: BacktestMongoError) -> tuple[type, str, str | None]:
    return type(error), error.message.partition(" failed: ")[2], error.hint


@pytest.mark.parametrize(
    "error", [DocumentTooLarge("x"), refusal(17419), refusal(17420), refusal(10334), bulk(17419), bulk(10334, 11000)]
)
def test_document_over_the_limit_is_the_caller_s_mistake(error: Exception) -> None:
    assert parts(translate(error, WRITING)) == (InputError, "the document is over MongoDB's limit of 16 MiB", None)


def test_row_that_can_t_be_decoded_is_the_store_s_error() -> None:
    problem = "a stored document can't be decoded (InvalidBSON)"
    hint = "another program wrote a value that Python can't represent"
    assert parts(translate(InvalidBSON("x"))) == (StoreError, problem, hint)


@pytest.mark.parametrize(("doing", "unknown"), [(WRITING, True), ("removing", True), (READING, False), ("x", False)])
def test_closed_connection_leaves_the_outcome_of_a_write_open(doing: str, unknown: bool) -> None:
    error = translate(InvalidOperation("x"), doing)
    assert parts(error) == (StoreUnavailableError, "the connections were closed before it was answered", None)
    assert error.may_be_applied is unknown


@pytest.mark.parametrize(
    "error",
    [
        AutoReconnect("x"),
        ConfigurationError("x"),
        ServerSelectionTimeoutError("x"),
        WaitQueueTimeoutError("x"),
        ExecutionTimeout("x", 50),
        WriteConcernError("x", 64, {}),
        refusal(SHUTDOWN),
        bulk(concerns=(64,)),
        bulk(11000, concerns=(64,)),
    ],
)
def test_server_that_is_unavailable_leaves_the_outcome_of_a_write_open(error: Exception) -> None:
    problem = f"MongoDB at db:27017 is unavailable ({type(error).__name__})"
    for doing, unknown, hint in ((WRITING, True, AGAIN), ("removing", True, AGAIN), (READING, False, CHECK)):
        translated = translate(error, doing)
        assert parts(translated) == (StoreUnavailableError, problem, hint)
        assert translated.may_be_applied is unknown


@pytest.mark.parametrize(
    ("error", "answer", "hint"),
    [
        (refusal(13), "13", "the user lacks the right to do this"),
        (refusal(18, codeName="AuthenticationFailed"), "18 (AuthenticationFailed)",
         "the login was refused: check user, password and authSource"),
        (refusal(52, codeName="x"), "52 (x)", None),
        (refusal(121), "121 (DocumentValidationFailure)", None),
        (refusal(2), "2 (BadValue)", None),
        (refusal(14), "14 (TypeMismatch)", None),
        (refusal(2, codeName="Own"), "2 (Own)", None),
        (bulk(121), "121 (DocumentValidationFailure)", None),
        (bulk(52), "52", None),
        (BulkWriteError({"writeErrors": [{"code": 5, "codeName": "Five"}, {"code": 8}], "codeName": "Whole"}),
         "5 (Five)", None),
        (BulkWriteError({"writeErrors": [{"code": 52}], "codeName": "Whole"}), "52", None),
        (refusal(None), "OperationFailure", None),
        (refusal(None, codeName="Nameless"), "Nameless", None),
        (OperationFailure("x"), "OperationFailure", None),
        (ValueError("x"), "ValueError", None),
        (refusal(123), "123", "majority reads need a replica set"),
        (refusal(148), "148", "majority reads are turned off on the server, and majority reads need them"),
        (refusal(9), "9", None),
        (refusal(72), "72", None),
    ],
)  # fmt: skip
def test_other_answers_keep_their_code_and_name(error: Exception, answer: str, hint: str | None) -> None:
    translated = translate(error)
    assert parts(translated) == (StoreError, f"MongoDB answered with error {answer}", hint)
    code = answer.partition(" ")[0]
    assert translated.code == (int(code) if code.isdigit() else None)


@pytest.mark.parametrize("level", ["local", "available", "majority", "linearizable", "snapshot", "most"])
def test_read_concern_that_does_not_exist_is_named(level: str) -> None:
    unknown = "MongoDB does not know the readConcernLevel in CC_MONGO_CONNECTION_STRING"
    for code in (9, 72):
        assert translate(refusal(code), level=level).hint == (unknown if level == "most" else None)
    assert translate(refusal(2), level=level).hint is None
    assert translate(refusal(123), level=level).hint == f"{level} reads need a replica set"
    default = translate_error(refusal(123), READING, STATE, None, HOSTS)
    assert (default.hint, default.key) == ("linearizable reads need a replica set", None)


class TestConflict:
    drop = "compare the collection's indexes with the slot's key, and drop the one that this library did not create"

    @pytest.mark.parametrize(
        ("error", "over"),
        [
            (DuplicateKeyError("x", 11000, {"keyPattern": {"a": 1, "b": 1}}), " on a, b"),
            (DuplicateKeyError("x", 11000, {}), ""),
            (BulkWriteError({"writeErrors": [{"code": 11000, "keyPattern": {"c": 1}}], "keyPattern": {"a": 1}}),
             " on c"),
            (BulkWriteError({"writeErrors": [{"code": 11000}], "keyPattern": {"a": 1}}), " on a"),
        ],
    )  # fmt: skip
    def test_conflicting_index_is_named_by_its_fields(self, error: Exception, over: str) -> None:
        conflict = translate(error, WRITING)
        problem = f"a unique index{over}, which this library did not create, rejects the row"
        assert parts(conflict) == (IndexConflictError, problem, self.drop)
        assert conflict.code == 11000

    def test_index_of_an_older_version_is_known(self) -> None:
        pattern = dict.fromkeys(reversed(FORMER.former), 1)
        error = DuplicateKeyError("x", 11000, {"keyPattern": pattern})
        hint = (
            "an older version of the Node package created it: `backtest-mongo migrate` shows what to do, "
            "and with --apply does it"
        )
        assert translate(error, WRITING, FORMER).hint == hint
        assert translate(error, WRITING, STATE).hint == self.drop
        more = DuplicateKeyError("x", 11000, {"keyPattern": {**pattern, "more": 1}})
        assert translate(more, WRITING, FORMER).hint == self.drop
        assert translate(DuplicateKeyError("x", 11000, {}), WRITING, FORMER).hint == self.drop

    def test_rows_that_share_a_key_keep_an_index_from_being_made(self) -> None:
        error = DuplicateKeyError("x", 11000, {"keyPattern": {"a": 1}})
        problem = "several documents have the same key, so the unique index can't be created"
        hint = "delete all but one document of each key; the next operation creates the index"
        conflict = translate(error, "preparing indexes")
        assert parts(conflict) == (IndexConflictError, problem, hint)
        assert conflict.code == 11000


@pytest.mark.parametrize(
    ("doing", "was_sent", "hint", "unknown"),
    [
        (WRITING, True, AGAIN, True),
        ("removing", True, AGAIN, True),
        (WRITING, False, "it was not sent", False),
        (READING, True, None, False),
        (READING, False, "it was not sent", False),
    ],
)
def test_call_without_an_answer_says_whether_it_was_sent(
    doing: str, was_sent: bool, hint: str | None, unknown: bool
) -> None:
    error = make_unanswered_error(doing, STATE, KEY, HOSTS, "no answer within 5 s", was_sent)
    assert error.message == f"{doing} failed: MongoDB at db:27017 is unavailable: no answer within 5 s"
    assert (error.slot, error.collection, error.key, error.hint) == ("state", STATE.collection, KEY, hint)
    assert error.may_be_applied is unknown


def test_read_from_a_server_that_is_not_the_primary_says_so() -> None:
    error = make_not_primary_error(READING, STATE, HOSTS)
    problem = "it is not the primary, and only the primary is up to date"
    assert error.message == f"reading failed: MongoDB at db:27017 is unavailable: {problem}"
    hint = "directConnection=true keeps to this server; name the replicaSet instead to follow the primary"
    assert (error.slot, error.collection, error.hint) == ("state", STATE.collection, hint)
    assert error.may_be_applied is False


@pytest.mark.parametrize(
    ("error", "description"),
    [
        (refusal(18, codeName="AuthenticationFailed"),
         "error 18, AuthenticationFailed: the login was refused: check user, password and authSource"),
        (refusal(13), "error 13, OperationFailure: the user lacks the right to do this"),
        (OperationFailure("x", 52), "error 52, OperationFailure"),
        (OperationFailure("the text. Of it all."), "OperationFailure: the text. Of it all"),
        (ServerSelectionTimeoutError("db:1: refused, Timeout: 30s, Topology Description: x"),
         "ServerSelectionTimeoutError: db:1: refused"),
        (ConnectionError("lost (configured timeouts: 5)"), "ConnectionError: lost"),
        (ConnectionError(" lost\nand more"), "ConnectionError: lost"),
        (OperationFailure("no, full error: {}"), "OperationFailure: no"),
        (ConnectionError(""), "ConnectionError"),
        (ConnectionError(", Timeout: 5"), "ConnectionError"),
        (ConnectionError("x" * 250), f"ConnectionError: {'x' * 200}"),
        (TimeoutError(), "TimeoutError"),
    ],
)  # fmt: skip
def test_error_is_described_in_a_few_words(error: Exception, description: str) -> None:
    assert describe_error(error) == description


def raised(error: Exception, cause: BaseException | None = None) -> Exception:
    try:
        raise error from cause
    except Exception as caught:
        return caught


def test_frames_are_stripped_from_an_error_and_from_all_that_led_to_it() -> None:
    first, second = raised(ValueError(1)), raised(ValueError(2))
    third = raised(ValueError(3), raised(ValueError(4), second))
    second.__context__ = first
    assert third.__traceback__ is not None
    assert strip_frames(third) is third
    chain = (third, third.__cause__, second, first)
    assert [error and error.__traceback__ for error in chain] == [None] * 4


def test_errors_that_led_to_each_other_are_stripped_once() -> None:
    one, other = raised(ValueError(1)), raised(ValueError(2))
    one.__context__, other.__context__ = other, one
    strip_frames(one)
    assert one.__traceback__ is other.__traceback__ is None
