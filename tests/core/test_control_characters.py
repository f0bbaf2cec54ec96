"""Stored text, in which nothing controls a terminal."""

from __future__ import annotations

import json

import pytest

from backtest_mongo.core.control_characters import escape_controls


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("", ""),
        ("plain ключ 😀", "plain ключ 😀"),
        ("a\tb\nc\rd", r"a\tb\nc\rd"),
        ("\x1b[2J", r"\u001b[2J"),
        ("\x7f\x9f", r"\u007f\u009f"),
        ("\u202e\u200b\u2028\u2029\ufeff", r"\u202e\u200b\u2028\u2029\ufeff"),
        ("\ud800", r"\ud800"),
        ("\U000e0001", r"\udb40\udc01"),
        # They don't control anything, although Python does not call them printable.
        ("\xa0\u3000\ue000 \x00", "\xa0\u3000\ue000 \\u0000"),
    ],
)
def test_control_characters_are_escaped_as_in_json(text: str, escaped: str) -> None:
    assert escape_controls(text) == escaped
    assert json.loads(f'"{escaped}"') == text


def test_line_feeds_stay_where_lines_are_kept() -> None:
    assert escape_controls("a\nb\x1b\n\n", keep_lines=True) == "a\nb\\u001b\n\n"
    assert escape_controls("a\r\nb", keep_lines=True) == "a\\r\nb"
