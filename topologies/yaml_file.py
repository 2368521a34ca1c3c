"""A YAML (or JSON) text as plain data that remembers its lines, whoever wrote it.

Any text is answered within a second or two, in words: it is bounded in size and depth, and in
what its aliases stand for when they are written out, before anything is built from it.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import yaml

from topologies.validate import NetworkError, Path, Problem

MAX_CHARACTERS = 1 << 20
"""A network of thousands of cities takes less."""

MAX_DEPTH = 20
MAX_NODES = 200_000
"""How deep values may stand in one another, and how many there may be, aliases written out."""

_BOOL = "tag:yaml.org,2002:bool"
_READ_ELSEWISE = frozenset({_BOOL, "tag:yaml.org,2002:timestamp"})
"""What YAML 1.1 makes of NO and of 2001-02-03: here they are text."""


class _Loader(yaml.CSafeLoader):
    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own name and type
        first: [(tag, regex) for tag, regex in found if tag not in _READ_ELSEWISE]
        for first, found in yaml.CSafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver(
    _BOOL, re.compile("true|True|TRUE|false|False|FALSE"), list("tTfF")
)  # as in YAML 1.2 (section 10.3.2)


def _int(loader: _Loader, node: yaml.ScalarNode) -> int | str:
    """A whole number; one that is longer than any that means something is text."""
    text: str = node.value
    try:
        value: int = loader.construct_yaml_int(node)
    except ValueError:
        return text
    return value if value.bit_length() <= 64 else text


_Loader.add_constructor("tag:yaml.org,2002:int", _int)


@dataclass(frozen=True, slots=True)
class Document:
    """A mapping from a file, and where each of its fields stands."""

    data: dict[str, Any]
    _root: yaml.Node

    def line_of(self, path: Path) -> int:
        """The line (from 1) of a field, or of the nearest thing around it that the file has."""
        node, line = self._root, self._root.start_mark.line
        for key in path:
            if isinstance(node, yaml.MappingNode):
                pairs = [(k, v) for k, v in node.value if k.value == key]
                if not pairs:
                    break
                mark, node = pairs[-1]
                line = mark.start_mark.line
            elif isinstance(node, yaml.SequenceNode) and isinstance(key, int):
                node = node.value[key]
                line = node.start_mark.line
            else:
                break
        return int(line) + 1

    def twice(self) -> list[Problem]:
        """Keys written twice in one mapping: YAML would keep the last without a word."""
        found = []
        stack: list[tuple[Path, yaml.Node]] = [((), self._root)]
        while stack:
            path, node = stack.pop()
            if isinstance(node, yaml.MappingNode):
                for key, count in Counter(str(k.value) for k, _ in node.value).items():
                    if count > 1:
                        found.append(Problem((*path, key), f"is written {count} times", "keep one"))
                stack += [((*path, str(key.value)), value) for key, value in node.value]
            elif isinstance(node, yaml.SequenceNode):
                stack += [((*path, i), value) for i, value in enumerate(node.value)]
        return found


def read(text: str, file: str) -> Document:
    """Parse a text. Raises NetworkError: no YAML, no mapping, too large, too deep."""
    try:
        _bound(text)
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is not None:
            _weigh(root, {})
        data = loader.construct_document(root) if root else None
        _check_text(data)
    except yaml.YAMLError as error:
        raise NetworkError([_syntax(error, file)]) from error
    except (ValueError, TypeError, RecursionError) as error:
        cause = f"a value cannot be read: {str(error).splitlines()[0]}"
        raise NetworkError([Problem((), cause, "write plain text and numbers", file)]) from error
    except _TooMuchError as error:
        raise NetworkError([Problem((), error.cause, error.mend, file)]) from error
    if root is None or not isinstance(data, dict):
        mend = "write key: value lines, as in topologies/catalog/triangle.yaml"
        raise NetworkError([Problem((), "the file is no mapping", mend, file)])
    return Document(data, root)


class _TooMuchError(Exception):
    def __init__(self, cause: str, mend: str) -> None:
        super().__init__(cause)
        self.cause, self.mend = cause, mend


def _bound(text: str) -> None:
    """Refuse what is too large or too deep to be taken apart. Raises _TooMuchError, YAMLError."""
    if len(text) > MAX_CHARACTERS:
        raise _TooMuchError(f"{len(text):,} characters are no file that people write", _SMALLER)
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                line = event.start_mark.line + 1 if event.start_mark else 0
                raise _TooMuchError(f"line {line}: values stand {depth} deep", "write it flatter")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


_SMALLER = f"stay below {MAX_CHARACTERS:,}; topologies.sources.dump_json writes larger networks"


def _weigh(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node has, aliases written out. Raises _TooMuchError."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    weight = known.get(id(node))
    if weight == 0:
        line = node.start_mark.line + 1
        raise _TooMuchError(f"line {line}: the value holds itself by an alias", "take it out")
    if weight is None:
        known[id(node)] = 0  # being weighed
        mapping = isinstance(node, yaml.MappingNode)
        parts = [part for pair in node.value for part in pair] if mapping else node.value
        weight = known[id(node)] = 1 + sum(_weigh(part, known) for part in parts)
    if weight > MAX_NODES:
        cause = f"over {MAX_NODES:,} values, aliases written out"
        raise _TooMuchError(cause, "use fewer aliases, or a smaller network")
    return weight


def _check_text(data: Any) -> None:
    """Every text must be one that can be printed. Raises ValueError."""
    stack = [data]
    while stack:
        value = stack.pop()
        if isinstance(value, str):
            value.encode()
        elif isinstance(value, dict):
            stack += [*value.keys(), *value.values()]
        elif isinstance(value, list):
            stack += value


def _syntax(error: yaml.YAMLError, file: str) -> Problem:
    mark = getattr(error, "problem_mark", None)
    cause = getattr(error, "problem", None) or str(error).splitlines()[0]
    line = mark.line + 1 if mark else None
    return Problem((), f"not YAML: {cause}", "mend the syntax there", file, line)
