"""A scenario: words said to a lab at given times. What is done by hand can be done again by it.

A scenario file lists steps; each has a time since the scenario's start, a subject and what to do:

    steps:
      - {at: 5 s, pop: LHR, do: withdraw}
      - {at: 8 s, link: LHR-FCO, do: set, delay: 50 ms, loss: 1 %}
      - {at: 12 s, link: LHR-FCO, do: restore}
      - {at: 15 s, note: half time}

It is checked whole, against the network, before anything is built.
"""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from experiments.control.words import words
from experiments.errors import UsageError
from topologies.plan import Plan
from topologies.units import format_time, parse_time

NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Step:
    """One word at one time, nanoseconds since the scenario's start."""

    at_ns: int
    word: str
    params: Mapping[str, Any]

    def dump(self) -> dict[str, Any]:
        """The step as plain data; ``Step(**data)`` is equal."""
        return {"at_ns": self.at_ns, "word": self.word, "params": dict(self.params)}


Scenario = tuple[Step, ...]
"""Steps in the order of their times."""


def read(path: Path, plan: Plan) -> Scenario:
    """The scenario in a file, for this network. Raises UsageError with all that is wrong."""
    from topologies import yaml_file
    from topologies.validate import NetworkError

    try:
        document = yaml_file.read(path.read_text(), path.name)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}.") from None
    except NetworkError as error:
        causes = "; ".join(problem.cause for problem in error.problems)
        raise UsageError(f"{path} is no scenario: {causes}. It begins with `steps:`.") from None
    problems = [f"{problem.field} {problem.cause}" for problem in document.twice()]
    problems += [f"{key} is not known: use steps" for key in document.data if key != "steps"]
    lines = document.data.get("steps")
    if not isinstance(lines, list) or not lines:
        problems.append("there are no steps: write `steps:` and a list")
        lines = []
    steps, wrong = _steps(lines, plan)
    problems += [f"line {document.line_of(('steps', n))}: {cause}" for n, cause in wrong.items()]
    if problems:
        raise UsageError("\n".join(f"{path}: {problem}" for problem in problems))
    return steps


def parse(entries: Sequence[Mapping[str, Any]], plan: Plan) -> Scenario:
    """The scenario in entries like those of a file. Raises UsageError with all that is wrong."""
    steps, wrong = _steps(entries, plan)
    if wrong:
        raise UsageError("\n".join(f"scenario[{n}]: {cause}" for n, cause in wrong.items()))
    return steps


def _steps(entries: Sequence[Any], plan: Plan) -> tuple[Scenario, dict[int, str]]:
    """The steps in the order of their times, and what is wrong with the others, by place."""
    from experiments.control.rehearsal import rehearse

    steps, wrong = [], {}
    for number, entry in enumerate(entries):
        try:
            steps.append((number, _step(entry)))
        except ValueError as error:
            wrong[number] = str(error)
    steps.sort(key=lambda step: step[1].at_ns)
    wrong |= rehearse(steps, plan)
    return tuple(step for _, step in steps), dict(sorted(wrong.items()))


def _step(entry: Any) -> Step:
    """One line. Raises ValueError."""
    if not isinstance(entry, dict) or not all(isinstance(key, str) for key in entry):
        raise ValueError("a step is a mapping, like {at: 5 s, pop: LHR, do: drain}")
    if "at" not in entry:
        raise ValueError("it has no time: write `at: 5 s`")
    at_ns = parse_time(entry["at"])
    if at_ns < 0:
        raise ValueError("it lies before the start")
    rest = {key: value for key, value in entry.items() if key not in ("at", "do")}
    if "note" in rest and "do" not in entry:
        return Step(at_ns, "note", {"text": _typed("note", rest.pop("note"), str)} | _none(rest))
    method, word = _method(rest, entry.get("do"))
    hints = get_type_hints(method)
    wanted = list(inspect.signature(method).parameters.values())[1:]
    unknown = sorted(set(rest) - {p.name for p in wanted})
    missing = [p.name for p in wanted if p.default is p.empty and p.name not in rest]
    if unknown or missing:
        what = f"does not know {unknown[0]!r}" if unknown else f"needs {missing[0]!r}"
        raise ValueError(f"{word} {what}: it has {', '.join(p.name for p in wanted)}")
    params = {p.name: _typed(p.name, rest[p.name], hints[p.name]) for p in wanted if p.name in rest}
    return Step(at_ns, word, params)


def _none(rest: Mapping[str, Any]) -> dict[str, Any]:
    if rest:
        raise ValueError(f"a note has nothing besides, not {sorted(rest)[0]!r}")
    return {}


def _method(rest: Mapping[str, Any], verb: Any) -> tuple[Callable[..., Any], str]:
    """The method that a subject and a verb mean, and its word. Raises ValueError."""
    known = {name: method for name, method in words().items() if "." in name}
    # By what it is said of: `lease.acquire` is said of a server.
    said = {(_subject(method), name.split(".")[1]): name for name, method in known.items()}
    if verb is not None and not isinstance(verb, str):
        raise ValueError(f"do is one word, not {verb!r}")
    for subject in rest:
        if word := said.get((subject, verb or "")):
            return known[word], word
    subjects = {subject for subject, _ in said}
    for subject in rest:
        if subject in subjects:
            verbs = [does for of, does in said if of == subject]
            raise ValueError(f"a {subject} can {', '.join(verbs)}, not {verb!r}")
    raise ValueError(f"it is about nothing: name one of {', '.join(sorted(subjects))}")


def _subject(method: Callable[..., Any]) -> str:
    """The name of a word's first parameter."""
    return list(inspect.signature(method).parameters)[1]


def _typed(name: str, value: Any, hint: Any) -> Any:
    """A value as its parameter takes it; numbers may stand where text is wanted. ValueError."""
    kinds = get_args(hint) or (hint,)
    if str in kinds and isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, kinds) or isinstance(value, bool) is not (bool in kinds):
        raise ValueError(f"{name} cannot be {value!r}")
    return value


@contextmanager
def playing(
    scenario: Scenario,
    say: Callable[[str, Mapping[str, Any]], Any],
    failed: Callable[[str], None],
    unsaid: Callable[[str], None],
) -> Iterator[None]:
    """Within the block, say each step at its time; what is left at its end is not said.

    ``failed`` is told when the lab refuses a step; the rest is not said then. ``unsaid`` is told
    that steps were left.
    """
    over = threading.Event()
    start = time.monotonic()
    left = list(scenario)

    def play() -> None:
        for step in scenario:
            if over.wait(max(0.0, start + step.at_ns / NS_PER_S - time.monotonic())):
                return
            try:
                say(step.word, step.params)
            except Exception as error:
                failed(f"The scenario's {step.word} at {format_time(step.at_ns)}: {error}")
                return
            left.pop(0)

    thread = threading.Thread(target=play, name="scenario", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if left:
        first = f"{left[0].word} at {format_time(left[0].at_ns)}"
        unsaid(f"{len(left)} of the scenario's steps were never said, from {first} on.")


def of_log(log: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The steps that a log amounts to, as a file has them: every word, counted from the first."""
    said = [record for record in log if record["event"] in ("Command", "Mark")]
    first = min((record["monotonic_ns"] for record in said), default=0)
    return [_recorded(record, record["monotonic_ns"] - first) for record in said]


def _recorded(record: Mapping[str, Any], at_ns: int) -> dict[str, Any]:
    at = f"{at_ns / 1e6:.0f} ms"
    if record["event"] == "Mark":
        return {"at": at, "note": record["text"]}
    return _entry(at, record["word"], record["params"])


def entries(scenario: Scenario) -> list[dict[str, Any]]:
    """Entries like those of a file, of which ``parse`` makes the same steps."""
    return [_entry(format_time(step.at_ns), step.word, step.params) for step in scenario]


def _entry(at: str, word: str, params: Mapping[str, Any]) -> dict[str, Any]:
    if word == "note":
        return {"at": at, "note": params["text"]}
    _, _, verb = word.partition(".")
    (subject, name), *more = params.items()
    return {"at": at, subject: name, "do": verb, **dict(more)}


def dump(entries: Iterable[Mapping[str, Any]]) -> str:
    """Steps as the text of a scenario file."""
    import yaml

    flow: dict[str, Any] = {"default_flow_style": True, "sort_keys": False, "width": 1000}
    lines = [yaml.safe_dump(dict(entry), **flow).strip() for entry in entries]
    return "\n".join(["steps:", *(f"  - {line}" for line in lines), ""])
