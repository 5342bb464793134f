"""What an exception may say: the words of the code that raised it, not the data in them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

import pytest

from service.telemetry.exceptions import exception_message, exception_stack
from service.telemetry.redact import MASK

NAME = "Zorblax Quimby"


class Unknown(Exception):
    def __init__(self, name: str) -> None:
        super().__init__(f"nobody is called {name} here")


def by_f_string() -> None:
    raise ValueError(f"no user {NAME} in order {17}")


def by_percent() -> None:
    raise ValueError("no user %s at all" % NAME)  # noqa: UP031


def by_format() -> None:
    raise ValueError("no user {!r}, sorry".format(NAME))  # noqa: UP032


def by_its_class() -> None:
    raise Unknown(NAME)


def from_c() -> None:
    int(NAME)


def by_key() -> None:
    {"a": 1}[NAME]


def by_the_system() -> None:
    os.stat(f"/nowhere/{NAME}")


def as_cause() -> None:
    try:
        by_f_string()
    except ValueError as error:
        raise RuntimeError("could not place the order") from error


def in_a_group() -> None:
    raise ExceptionGroup("two failed", [ValueError(f"one for {NAME} it was"), KeyError(NAME)])


def caught(call: Callable[[], None]) -> BaseException:
    try:
        call()
    except Exception as error:
        return error
    raise AssertionError("did not raise")


@pytest.mark.parametrize(
    "call", [by_f_string, by_percent, by_format, by_its_class, from_c, by_key, by_the_system, as_cause, in_a_group]
)
def test_data_does_not_get_out(call: Callable[[], None]) -> None:
    error = caught(call)
    told = exception_message(error) + exception_stack(error)
    assert NAME not in told
    assert "Zorblax" not in told
    assert call.__name__ in told


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (by_f_string, f"no user {MASK} in order 17"),
        (by_percent, f"no user {MASK} at all"),
        (by_its_class, f"nobody is called {MASK} here"),
        (from_c, f"invalid literal for int() with base 10: '{MASK}'"),
        (as_cause, "could not place the order"),
        (lambda: {}["thing_id"], "'thing_id'"),
        (lambda: None.thing_id, "'NoneType' object has no attribute 'thing_id'"),  # type: ignore[attr-defined]
        (lambda: 1 / 0, "division by zero"),
    ],
)
def test_the_words_of_the_code_stay(call: Callable[[], None], told: str) -> None:
    assert exception_message(caught(call)) == told


def test_an_exception_that_cannot_be_told_is_no_reason_to_fail() -> None:
    class Speechless(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    assert exception_message(Speechless()) == MASK
    assert exception_message(asyncio.CancelledError()) == ""
