"""The doors over HTTP, in front of a controller's inside: what they answer, whatever is asked."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import eventlet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus
from webob import Request

from controller import ryu_compat
from controller.core.lease import PoolExhaustedError
from controller.store import Leader
from tests.fakes.inside import PLAN, SERVERS, Inside, inside

ryu_compat.make_importable()

from controller.rest import Doors as OpenDoors  # noqa: E402 (Ryu needs the preparation)
from controller.rest import Standby, application  # noqa: E402
from controller.rest.token import read_token  # noqa: E402


class Doors:
    """An inside, and its doors."""

    def __init__(self, token: str | None = None) -> None:
        self.inside: Inside = inside()
        self.store = self.inside.store
        loop, lender = self.inside.loop, self.inside.lender
        controller = SimpleNamespace(
            loop=loop,
            lender=lender,
            store=self.store,
            switches=loop.switches,
            servers={server.name: server for server in SERVERS},
            shedder=SimpleNamespace(loads={"LHR": 12.5}),
            counts={"packet_ins": 0},
            ready=True,
            started=datetime.now(UTC),
        )
        self._app = application(controller, token)  # type: ignore[arg-type]

    def answer(self, method: str, path: str, body: bytes = b"", **headers: str) -> Any:
        """The whole answer."""
        request = Request.blank(path, method=method, body=body, headers=headers)
        return request.get_response(self._app)

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and JSON of an answer; of a problem, checked to be one."""
        raw = (
            body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        )
        answer = self.answer(method, path, raw if method == "POST" else b"")
        kind = answer.content_type
        if answer.status_code >= 400 and answer.body:
            assert answer.status_code < 500 or answer.status_code == 503, answer.body
            if kind == "application/problem+json":
                assert answer.json["status"] == answer.status_code
                assert answer.json["detail"]
            return answer.status_code, answer.text
        return answer.status_code, answer.json if kind == "application/json" else answer.text


def test_a_lease_lives_its_life_over_http() -> None:
    doors = Doors()
    code, lease = doors.ask("POST", "/v1/leases", {"server": "LHR-s1", "psid_bits": 6.0})
    assert (code, lease["server"], lease["psid_bits"]) == (201, "LHR-s1", 6)
    assert lease["confirmed"]
    at = f"/v1/leases/{lease['address']}/{lease['last_port']}"
    assert doors.ask("GET", at)[1]["number"] == lease["number"]
    assert doors.ask("POST", "/v1/leases", {"server": "LHR-s1"})[1]["number"] == lease["number"]
    doors.inside.clock.at += 10**9
    assert doors.ask("POST", f"{at}/renew")[1]["expires_in_s"] == 60
    assert doors.ask("POST", f"{at}/release", {"server": "FCO-s1"})[0] == 409
    code, moved = doors.ask("POST", f"{at}/move", {"server": "FCO-s1"})
    assert (code, moved["server"], moved["home"], moved["number"]) == (200, "FCO-s1", "FCO", 2)
    code, drained = doors.ask("POST", f"{at}/move", {"server": "LHR-s2", "drain_s": 1.5})
    assert (drained["state"], drained["heir"]) == ("draining", "LHR-s2")
    assert drained["expires_in_s"] == 1.5
    assert doors.ask("POST", f"{at}/drain", {"seconds": 3})[0] == 409
    assert doors.ask("POST", f"{at}/revoke")[1]["state"] == "quarantined"
    assert doors.ask("POST", f"{at}/renew")[0] == 409
    assert [x["state"] for x in doors.ask("GET", "/v1/leases")[1]] == ["quarantined"]
    assert doors.ask("GET", "/v1/pool")[1]["any"]["pops"]["FCO"]["quarantined"] == 1024
    assert doors.ask("GET", "/v1/audit")[1]["agrees"]
    assert doors.ask("GET", "/v1/geofeed") == (200, "# triangle\r\n")


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "cause"),
    [
        ("POST", "/v1/leases", {"server": "X"}, 404, "no server 'X'"),
        ("POST", "/v1/leases", {}, 400, "'server' is missing"),
        ("POST", "/v1/leases", {"server": 1}, 400, "server is str"),
        ("POST", "/v1/leases", {"server": "LHR-s1", "psid_bits": True}, 400, "psid_bits is int"),
        ("POST", "/v1/leases", {"server": "LHR-s1", "psid_bits": 99}, 409, "0 to 12 PSID bits"),
        ("POST", "/v1/leases", {"server": "LHR-s1", "tag": "gb"}, 409, "no pool is tagged"),
        ("POST", "/v1/leases", {"server": "LHR-s1", "client_id": "x" * 65}, 400, "at most 64"),
        ("POST", "/v1/leases", {"server": "LHR-s1", "client_id": "a\nb"}, 400, "printable"),
        ("POST", "/v1/leases", {"server": "LHR-s1", "client_id": "caf\xe9"}, 400, "ASCII"),
        ("POST", "/v1/leases", {"server": "LHR-s1", "client_id": "0xno"}, 400, "no client ident"),
        ("POST", "/v1/leases", {"server": "LHR-s1", "who": "me"}, 400, "no field 'who'"),
        ("POST", "/v1/leases", b"[" * 4000, 400, "detail"),
        ("POST", "/v1/leases", b"\xff", 400, "decode"),
        ("POST", "/v1/leases", b"x" * 5000, 400, "at most 4096 bytes"),
        ("GET", "/v1/leases/203.0.113.0/2048", None, 404, "is free"),
        ("GET", "/v1/leases/203.0.113.0/65536", None, 400, "port is a whole number"),
        ("GET", "/v1/leases/localhost/1", None, 400, "not an IPv4 address"),
        ("GET", f"/v1/leases/203.0.113.0/1/who?at_ns={1 << 63}", None, 400, "at_ns is a whole"),
        ("POST", "/v1/leases/203.0.113.0/2048/revoke", None, 409, "is free"),
        ("POST", "/v1/leases/203.0.113.0/2048/drain", {"seconds": -1}, 400, "seconds are from 0"),
        ("POST", "/v1/leases/203.0.113.0/1/drain", b'{"seconds": NaN}', 400, "NaN is no number"),
        ("POST", "/v1/leases/203.0.113.0/2048/move", {"server": "X"}, 404, "no server 'X'"),
        ("POST", "/v1/events", b"[" * 4000, 400, "detail"),
        ("POST", "/v1/events", {"event": "LeaseChanged"}, 400, "no lease"),
        ("POST", "/v1/events", {"event": "Command", "word": "x", "params": {}}, 400, "are none"),
        ("POST", "/v1/events", b'{"event": "Mark", "text": Infinity}', 400, "is no number"),
        ("POST", "/v1/events", b'{"event": "Mark", "text": 1e400}', 400, "1e400 is too large"),
        (
            "POST",
            "/v1/events",
            {"event": "Command", "word": "x", "params": {"a": {"b": 1}}},
            400,
            "params are words, numbers",
        ),
        (
            "POST",
            "/v1/events",
            {"event": "MetricSet", "link": 1, "delay_ns": 10**400},
            400,
            "delay_ns is too large",
        ),
        ("GET", "/v1/events?after=-1", None, 400, "after is a whole number"),
    ],
)
def test_what_cannot_be_is_a_problem_in_words(
    method: str, path: str, body: Any, code: int, cause: str
) -> None:
    found, text = Doors().ask(method, path, body)
    assert found == code, text
    assert cause in text


@pytest.mark.parametrize("earliest_ns", [180_000_000_000, None])
def test_a_pool_that_is_dry_says_when_to_come_again(
    earliest_ns: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dry(*_: object, **__: object) -> None:
        raise PoolExhaustedError("LHR", "any", 2048, earliest_ns)

    doors = Doors()
    monkeypatch.setattr(doors.inside.lender, "acquire", dry)
    refused = doors.answer("POST", "/v1/leases", b'{"server": "LHR-s1"}')
    assert (refused.status_code, refused.json["earliest_ns"]) == (409, earliest_ns)


def test_a_verb_with_if_match_changes_only_what_the_caller_saw() -> None:
    doors = Doors()
    made = doors.answer("POST", "/v1/leases", b'{"server": "LHR-s1"}')
    at = f"/v1/leases/{made.json['address']}/{made.json['first_port']}"
    assert made.etag == doors.answer("GET", at).etag
    doors.inside.clock.at += 10**9
    renewed = doors.answer("POST", f"{at}/renew", **{"If-Match": f'"{made.etag}"'})
    assert renewed.status_code == 200
    assert renewed.etag != made.etag
    for old in (f'"{made.etag}"', f'"x", "{made.etag}"', f'W/"{renewed.etag}"'):
        refused = doors.answer("POST", f"{at}/revoke", **{"If-Match": old})
        assert refused.status_code == 412, old
        assert "look again" in refused.json["detail"]
    for now in ("*", f'"x", "{renewed.etag}"'):
        moved = doors.answer("POST", f"{at}/renew", **{"If-Match": now})
        assert moved.status_code == 200, now
    for nothing in ("", " "):
        refused = doors.answer("POST", f"{at}/revoke", **{"If-Match": nothing})
        assert refused.status_code == 412
    revoked = doors.answer("POST", f"{at}/revoke", **{"If-Match": f'"{moved.etag}"'})
    assert revoked.status_code == 200
    free = doors.answer("POST", "/v1/leases/203.0.113.3/2048/revoke", **{"If-Match": "*"})
    assert free.status_code == 412


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("TRACE", "/v1/leases", 405, "GET, HEAD, POST"),
        ("PUT", "/v1/leases/203.0.113.0/2048/renew", 405, "POST"),
        ("GET", "/v1/leases/203.0.113.0/2048/renew", 405, "POST"),
        ("POST", "/metrics", 405, "GET, HEAD"),
        ("GET", "/v1/lease", 404, None),
        ("GET", "/", 404, None),
        ("POST", "/v1/leases/203.0.113.0/2048/give", 404, None),
    ],
)
def test_what_nobody_answers_is_a_problem_too(
    method: str, path: str, status: int, allow: str | None
) -> None:
    refused = Doors().answer(method, path)
    assert refused.status_code == status
    assert refused.headers.get("Allow") == allow
    assert refused.content_type == "application/problem+json"
    assert refused.json["status"] == status


def test_a_note_that_was_refused_was_not_made() -> None:
    doors, once = Doors(), {"event": "Mark", "text": "once"}
    doors.store.broken = True
    assert doors.ask("POST", "/v1/events", once)[0] == 503
    doors.store.broken = False
    assert doors.ask("POST", "/v1/events", once)[0] == 201
    doors.ask("POST", "/v1/leases", {"server": "LHR-s1"})
    said = [x["event"] for x in doors.ask("GET", "/v1/events")[1]]
    assert said == ["Mark", "LeaseChanged"]


def test_whatever_goes_wrong_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    doors = Doors()
    wish = {"server": "LHR-s1"}

    def too_deep(_records: object) -> None:
        raise RecursionError

    with monkeypatch.context() as broken, eventlet.Timeout(5):
        broken.setattr(doors.store, "commit", too_deep)
        with pytest.raises(RecursionError):
            doors.answer("POST", "/v1/leases", json.dumps(wish).encode())
    assert doors.ask("POST", "/v1/leases", wish)[0] == 201


def test_a_body_says_how_long_it_is_and_a_path_may_be_whole() -> None:
    doors = Doors()
    chunked = doors.answer("POST", "/v1/leases", **{"Transfer-Encoding": "chunked"})
    assert (chunked.status_code, chunked.content_type) == (411, "application/problem+json")
    request = Request.blank("/", environ={"PATH_INFO": "http://127.0.0.1/v1/status"})
    assert request.get_response(doors._app).json["ready"]


def test_with_a_token_only_who_knows_it_is_answered() -> None:
    doors = Doors(token="correct-horse-battery")
    wrong = ["", "Bearer", "Bearer x", "Basic correct-horse-battery", "Bearer correct-horse"]
    for words in [*wrong, "Bearer \xff"]:
        refused = doors.answer("GET", "/v1/leases", Authorization=words)
        assert refused.status_code == 401, words
        assert refused.headers["WWW-Authenticate"].startswith("Bearer")
        assert refused.content_type == "application/problem+json"
    assert doors.answer("GET", "/metrics").status_code == 401
    for words in ("Bearer correct-horse-battery", "bearer  correct-horse-battery"):
        assert doors.answer("GET", "/v1/leases", Authorization=words).status_code == 200
    assert Doors().answer("GET", "/v1/leases").status_code == 200


def test_a_token_is_read_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("a-token-of-20-chars-\n")
    assert read_token(file) == "a-token-of-20-chars-"
    for bad in ("", "short\n", "with a space inside it\n", "two-lines-of-text\nare-no-token\n"):
        file.write_text(bad)
        with pytest.raises(ValueError, match="16 or more ASCII characters"):
            read_token(file)


def metrics(doors: Doors, accept: str = "") -> dict[tuple[str, ...], float]:
    """Every sample by its name and the values of its labels, which are by their names."""
    answer = doors.answer("GET", "/metrics", Accept=accept)
    read = openmetrics if "openmetrics" in answer.headers["Content-Type"] else prometheus
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in read(answer.text)
        for sample in family.samples
    }


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0"])
def test_metrics_say_what_is_lent_and_what_was_refused(accept: str) -> None:
    doors = Doors()
    before = metrics(doors, accept)
    assert before["poplab_ready",] == 1
    assert before["poplab_lendings_total",] == 0
    doors.ask("POST", "/v1/leases", {"server": "LHR-s1"})
    _, lease = doors.ask("POST", "/v1/leases", {"server": "LHR-s1", "client_id": "b"})
    doors.ask("POST", f"/v1/leases/{lease['address']}/{lease['first_port']}/revoke")
    doors.ask("POST", "/v1/leases", {"server": "LHR-s1", "tag": "xx"})
    after = metrics(doors, accept)
    assert after["poplab_lease_ports", "LHR", "lent", "any"] == 2048
    assert after["poplab_lease_ports", "LHR", "quarantined", "any"] == 2048
    assert after["poplab_lease_sets", "LHR", "any"] == 2
    assert after["poplab_lendings_total",] == 2
    assert after["poplab_refusals_total", "UnknownTag"] == 1
    assert after["poplab_pool_addresses_taken", "any"] == 1
    assert {row[1] for row in after if row[0] == "poplab_switch_rules"} == {
        switch.name for switch in PLAN.switches
    }


PORTS = st.one_of(st.sampled_from(["2048", "4095", "6144", "0", "65535"]), st.text(max_size=8))
ADDRESSES = st.one_of(st.sampled_from(["203.0.113.0", "203.0.113.1"]), st.text(max_size=16))
NAMES = st.sampled_from([*(server.name for server in SERVERS), "", "X"])
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "server": NAMES | st.integers() | st.none(),
        "tag": st.sampled_from(["any", "gb"]) | st.text(max_size=5),
        "client_id": st.text(max_size=70),
        "psid_bits": st.integers(-1, 20) | st.floats() | st.booleans(),
        "seconds": st.floats() | st.integers(-1, 10**12),
        "drain_s": st.floats(0, 100) | st.none(),
    },
)
ODD = (b"1e400", b"[" * 500 + b"]" * 500, b'{"a": ' * 500 + b"1" + b"}" * 500)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)
EVENTS = st.one_of(
    st.fixed_dictionaries({"event": st.just("Mark"), "text": st.text(max_size=9) | VALUES}),
    st.fixed_dictionaries(
        {
            "event": st.just("PopSet"),
            "pop": st.sampled_from(["LHR", "ARN", "X"]),
            "state": st.sampled_from(["announced", "drained", "withdrawn", "x"]),
        }
    ),
    st.fixed_dictionaries(
        {
            "event": st.just("Command"),
            "word": st.just("x"),
            "params": st.dictionaries(st.text(max_size=3), VALUES, max_size=3),
        }
    ),
    st.sampled_from(ODD).map(
        lambda odd: b'{"event": "Command", "word": "x", "params": {"a": ' + odd + b"}}"
    ),
)
BODIES = FIELDS | st.binary(max_size=60) | st.lists(st.integers(), max_size=3)
ASKS = st.one_of(
    st.tuples(st.just("POST"), st.just("/v1/leases"), BODIES),
    st.builds(
        lambda address, port, verb, body: ("POST", f"/v1/leases/{address}/{port}/{verb}", body),
        ADDRESSES,
        PORTS,
        st.sampled_from(["renew", "revoke", "release", "drain", "move"]),
        BODIES,
    ),
    st.builds(
        lambda address, port, more: ("GET", f"/v1/leases/{address}/{port}{more}", None),
        ADDRESSES,
        PORTS,
        st.sampled_from(["", "/who", "/who?at_ns=5", "/who?at_ns=x"]),
    ),
    st.tuples(st.just("POST"), st.just("/v1/events"), EVENTS | BODIES),
)


@given(st.lists(ASKS, min_size=1, max_size=12))
@settings(max_examples=60, deadline=None)
def test_whatever_is_asked_is_answered_and_book_store_and_switches_agree(
    asks: list[tuple[str, str, Any]],
) -> None:
    from urllib.parse import quote

    doors = Doors()
    for method, path, body in asks:
        doors.ask(method, quote(path, safe="/?="), body)
    doors.inside.settle()
    assert doors.ask("GET", "/v1/audit")[1]["agrees"]
    json.loads(doors.answer("GET", "/v1/events").text, parse_constant=pytest.fail)
    assert doors.ask("POST", "/v1/events", {"event": "Mark", "text": "after all"})[0] == 201
    assert len(doors.ask("GET", "/v1/status")[1]["switches"]) == len(PLAN.switches)


# -- the description


def resolved(schema: Any, whole: Any) -> Any:
    """A schema without references, what all of several say in one."""
    if "$ref" in schema:
        found = whole
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        return resolved(found, whole)
    if "allOf" in schema:
        parts = [resolved(part, whole) for part in schema["allOf"]]
        return {
            "type": "object",
            "properties": {k: v for part in parts for k, v in part["properties"].items()},
            "required": [name for part in parts for name in part["required"]],
        }
    return schema


KINDS = {"string": str, "integer": int, "boolean": bool, "array": list, "object": dict}
KINDS |= {"null": type(None), "number": (int, float)}


def check(value: Any, schema: Any, whole: Any, *, closed: bool = True) -> None:
    """A value is what a schema says, and has nothing that the schema does not name."""
    schema = resolved(schema, whole)
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    assert any(isinstance(value, KINDS[kind]) for kind in kinds), (value, schema)
    assert value in schema.get("enum", [value])
    if isinstance(value, list):
        for item in value:
            check(item, schema["items"], whole, closed=closed)
    if isinstance(value, dict):
        known = schema.get("properties", {})
        assert set(schema.get("required", ())) <= value.keys()
        more = schema.get("additionalProperties")
        for name, item in value.items():
            assert name in known or more or not closed, name
            if name in known or isinstance(more, dict):
                check(item, known.get(name, more), whole, closed=closed)


def test_what_is_described_is_what_is_answered() -> None:
    doors = Doors()
    _, whole = doors.ask("GET", "/v1/openapi.json")
    assert whole["openapi"] == "3.1.0"
    doors.ask("POST", "/v1/events", {"event": "PopSet", "pop": "LHR", "state": "drained"})
    bodies = {
        "release": {"server": "LHR-s1"},
        "move": {"server": "FCO-s1"},
        "drain": {"seconds": 5},
    }
    checked = 0
    for number, path in enumerate(whole["paths"]):
        asked = {"server": "LHR-s1", "client_id": str(number), "psid_bits": 12}
        _, lease = doors.ask("POST", "/v1/leases", asked)
        for method, operation in whole["paths"][path].items():
            where = path.replace("{address}", lease["address"]).replace("{city}", "LHR")
            where = where.replace("{port}", str(lease["first_port"]))
            body = bodies.get(path.rsplit("/", 1)[-1])
            if path == "/v1/leases":
                body = {"server": "LHR-s2"}
            if path == "/v1/events":
                body = {"event": "Mark", "text": "here"}
            code, found = doors.ask(method.upper(), where, body)
            assert code < 300, (method, where, found)
            if isinstance(found, dict | list):
                said = operation["responses"][str(code)]["content"]["application/json"]["schema"]
                check(found, said, whole, closed=path not in ("/v1/events", "/v1/openapi.json"))
                checked += 1
    assert checked >= 12


def test_every_door_is_described_and_nothing_else_is() -> None:
    doors = Doors()
    _, whole = doors.ask("GET", "/v1/openapi.json")
    described = {
        (method.upper(), path) for path, methods in whole["paths"].items() for method in methods
    }
    found = set()
    for door in doors._app.routes:  # type: ignore[attr-defined]
        path, _, choice = door.routepath.partition("{verb:")
        verbs = choice.removesuffix("}").split("|")
        methods = set(door.conditions["method"]) - {"HEAD"}
        found |= {(method, path + verb) for method in methods for verb in verbs}
    assert found == described


@pytest.mark.parametrize(
    ("leader", "said"),
    [(None, "nobody leads yet"), (Leader("other", "127.0.0.1:8081", 7), "other leads, at 127.0.")],
)
def test_a_standby_says_who_leads(leader: Leader | None, said: str) -> None:
    standby = OpenDoors(Standby(lambda: leader, lambda: 6))
    for method, path in (("GET", "/v1/world"), ("POST", "/v1/leases"), ("GET", "/metrics")):
        answer = Request.blank(path, method=method).get_response(standby)
        assert (answer.status_code, answer.content_type) == (503, "application/problem+json")
        assert answer.json["detail"].startswith(f"this controller is a standby: {said}")
        assert (answer.json["leader"], answer.json["switches"]) == (leader and leader.at, 6)
