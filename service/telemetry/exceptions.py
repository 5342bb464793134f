"""What an exception says, less the data in it.

An exception's message is written by code around data: ``f"no user {name}"``. What the code wrote is worth recording,
what it put in may be anybody's secret. The two are told apart by the constants of the code that raised: what is not
among them is masked, unless it is a number or a name of the code. Where the message comes from elsewhere (a library in
C, a server), what stands in quotes is masked. Owns that judgement; only exceptions pay for it.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterable, Iterator, Sequence
from types import CodeType, TracebackType

from service.telemetry.redact import MASK, redact_text

MAX_FRAMES = 20
_LEAST_PIECE = 3  # shorter constants say nothing about where a message comes from
_PLACEHOLDER = re.compile(r"%[-#0 +]*\d*(?:\.\d+)?[a-zA-Z]|\{[^{}]*\}")
_QUOTED = re.compile(r"""(?P<quote>["'`])(?P<text>[^"'`\n]*)(?P=quote)""")
_HARMLESS = re.compile(
    r"[\s\d.,:;()\[\]{}<>=+%*/'\"#-]{0,40}"  # numbers and punctuation
    r"|[\s'\"(\[]*[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}[\s'\")\].,]*"  # an id of ours
)
_TYPES = frozenset(
    [
        "NoneType",
        "bool",
        "int",
        "float",
        "str",
        "bytes",
        "list",
        "tuple",
        "dict",
        "set",
        "object",
        "function",
        "coroutine",
        "generator",
    ]
)


def exception_message(exception: BaseException, made_in: Sequence[CodeType] = ()) -> str:
    """``str(exception)`` with secrets and the data that was put into it masked.

    ``made_in``: the code that made it, for an exception that was never raised itself, such as a member of a group.
    """
    try:
        text = str(exception)
    except Exception:
        return MASK
    text = redact_text(text)
    raising = list(_codes(exception)) or list(made_in)
    pieces = {piece for code in raising[-1:] + _of_class(exception) for piece in _pieces(code)}
    known = _TYPES.union(*(_words(code) for code in raising))
    if found := [piece for piece in pieces if piece in text]:
        return _keep(text, found, known)
    return _QUOTED.sub(lambda quoted: quoted[0] if quoted["text"] in known else _mask(quoted["quote"]), text)


def exception_stack(exception: BaseException) -> str:
    """The stack trace, causes and all, with every message in it as ``exception_message`` tells it."""
    text = "".join(traceback.format_exception(type(exception), exception, exception.__traceback__, limit=-MAX_FRAMES))
    outermost = list(_codes(exception))
    for one in _chain(exception):
        raw, told = _raw(one), exception_message(one, outermost)
        if raw and raw != told:
            text = text.replace(raw, told)
    return redact_text(text)


def _mask(quote: str) -> str:
    return f"{quote}{MASK}{quote}"


def _raw(exception: BaseException) -> str:
    try:
        return str(exception)
    except Exception:
        return ""


def _chain(exception: BaseException, seen: set[int] | None = None) -> Iterator[BaseException]:
    """The exception, its causes, and the members of groups."""
    seen = seen if seen is not None else set()
    if id(exception) in seen:
        return
    seen.add(id(exception))
    yield exception
    more: Iterable[BaseException | None] = (exception.__cause__, exception.__context__)
    if isinstance(exception, BaseExceptionGroup):
        more = (*more, *exception.exceptions)
    for one in more:
        if one is not None:
            yield from _chain(one, seen)


def _codes(exception: BaseException) -> Iterator[CodeType]:
    """Code of every frame that the exception has passed, the one that raised it last."""
    step: TracebackType | None = exception.__traceback__
    while step is not None:
        yield step.tb_frame.f_code
        step = step.tb_next


def _of_class(exception: BaseException) -> list[CodeType]:
    """Code with which the exception's own class may have written its message."""
    functions = (getattr(type(exception), name, None) for name in ("__init__", "__str__"))
    return [function.__code__ for function in functions if hasattr(function, "__code__")]


def _pieces(code: CodeType) -> Iterator[str]:
    """What the constants of ``code`` put into a message, between the data."""
    for constant in code.co_consts:
        if isinstance(constant, str):
            yield from (piece for piece in _PLACEHOLDER.split(constant) if len(piece.strip()) >= _LEAST_PIECE)


def _words(code: CodeType) -> Iterator[str]:
    """Names that the code itself uses."""
    yield from code.co_names
    yield from code.co_varnames
    yield from (constant for constant in code.co_consts if isinstance(constant, str) and len(constant) <= 60)


def _keep(text: str, pieces: list[str], known: frozenset[str]) -> str:
    """The text with everything masked that is neither of the pieces, nor harmless, nor a name of the code."""
    spoken = bytearray(len(text))
    for piece in pieces:
        at = text.find(piece)
        while at >= 0:
            spoken[at : at + len(piece)] = b"\x01" * len(piece)
            at = text.find(piece, at + 1)
    out: list[str] = []
    at = 0
    while at < len(text):
        end = at
        while end < len(text) and spoken[end] == spoken[at]:
            end += 1
        run = text[at:end]
        if spoken[at] or _HARMLESS.fullmatch(run) or run.strip("'\"` ") in known:
            out.append(run)
        else:
            out.append(MASK)
        at = end
    return "".join(out)
