"""Requests and answers: what is read strictly, and how a refusal looks."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import eventlet
from eventlet.greenthread import GreenThread
from webob import Response

from controller.core.lease import ChangedMeanwhileError, LendingError, PoolExhaustedError
from controller.dhcp import LONGEST_NAME, is_name
from controller.loop import FORCE_S
from controller.session import SwitchError
from controller.store import StoreError

Answer = dict[str, Any] | list[Any]

LONGEST = 4096
"""Bytes of a request's body."""


class NotFoundError(Exception):
    """There is no such thing here."""


def answer(found: Answer, status: int = 200) -> Response:
    """An answer in JSON."""
    body = json.dumps(found, indent=1).encode() + b"\n"
    return Response(status=status, content_type="application/json", charset="utf-8", body=body)


def refuse(status: int, error: object, **more: Any) -> Response:
    """A problem: its status, what is wrong, and what else there is to know (RFC 9457)."""
    refused = answer({"status": status, "detail": str(error)} | more, status)
    refused.content_type = "application/problem+json"
    return refused


def refusing(method: Callable[..., Response]) -> Callable[..., Response]:
    """Make problems of what a method raises: bad requests, refusals, a controller in trouble."""

    @functools.wraps(method)
    def answering(*args: Any, **given: Any) -> Response:
        try:
            return method(*args, **given)
        except NotFoundError as error:
            return refuse(404, error)
        except ValueError as error:
            return refuse(400, error)
        except ChangedMeanwhileError as error:
            return refuse(412, error)
        except PoolExhaustedError as error:
            return refuse(409, error, earliest_ns=error.earliest_ns)
        except LendingError as error:
            return refuse(409, error)
        except (StoreError, SwitchError) as error:
            return refuse(503, error)

    return answering


def number(text: str, name: str, most: int) -> int:
    """A number in a path or a query. Raises ValueError."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 20 and int(text) <= most):
        raise ValueError(f"{name} is a whole number from 0 to {most}, not {text!r}")
    return int(text)


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object of a body; none is an empty one. Raises ValueError."""
    if len(body) > LONGEST:
        raise ValueError(f"a body has at most {LONGEST} bytes")
    try:
        data = json.loads(body or b"{}", parse_constant=_no_number, parse_float=_finite)
    except RecursionError:
        raise ValueError("the body is nested too deep") from None
    if not isinstance(data, dict):
        raise ValueError("a body is one JSON object")
    return data


def _no_number(word: str) -> float:
    """What Python takes for a number and JSON does not (RFC 8259 section 6). Raises ValueError."""
    raise ValueError(f"{word} is no number")


def _finite(text: str) -> float:
    """A number that is not too large for Python to hold. Raises ValueError."""
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text} is too large")
    return value


def read_fields(body: bytes, wanted: Mapping[str, type], needed: str = "") -> dict[str, Any]:
    """The fields of a body, each of its type, no others. Raises ValueError."""
    data = {name: value for name, value in read_object(body).items() if value is not None}
    for name, value in data.items():
        if name not in wanted:
            raise ValueError(f"there is no field {name!r}: {', '.join(wanted)}")
        kind = wanted[name]
        if kind is int and isinstance(value, float) and value.is_integer():
            data[name] = value = int(value)  # 6.0 is a whole number in JSON
        right = isinstance(value, int | float) if kind is float else isinstance(value, kind)
        if not right or isinstance(value, bool):
            raise ValueError(f"{name} is {kind.__name__}, not {value!r}")
        if kind is str and not is_name(value):
            raise ValueError(f"{name} has at most {LONGEST_NAME} printable characters of ASCII")
    if needed and needed not in data:
        raise ValueError(f"the field {needed!r} is missing")
    return data


def is_confirmed(following: GreenThread | None) -> bool:
    """Whether every switch that is there confirms a change within a few seconds."""
    if following is None:
        return True
    with eventlet.Timeout(FORCE_S, False):
        following.wait()
    return bool(following.dead)
