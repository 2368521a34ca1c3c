"""Where networks come from: the catalog, files, and topohub's hundreds of real networks."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import TypeVar

from topologies import explicit
from topologies.explicit import dump_json
from topologies.model import Network, Policy, Upstream
from topologies.validate import NetworkError, Problem, problems, suggest

__all__ = ["NetworkError", "Problem", "catalog", "dump_json", "load", "parse"]

Word = TypeVar("Word", Policy, Upstream)

CATALOG = Path(str(files("topologies"))) / "catalog"

MAX_BYTES = 1 << 25
"""The largest file that is read at all."""

DEFAULT_POPS = 5
"""PoPs of a network that brings none."""


def catalog() -> list[tuple[str, str]]:
    """Name and description of every network that ships with the kit, the smallest first."""
    import yaml

    found = []
    for path in sorted(CATALOG.glob("*.yaml"), key=lambda path: (path.stat().st_size, path.name)):
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        found.append((path.stem, str(data["description"])))
    return found


def ships(name: str) -> bool:
    """Whether a network of this name comes with the kit."""
    path = CATALOG / f"{name}.yaml"
    return path.parent == CATALOG and _is_file(path)


def _is_file(path: Path) -> bool:
    """Whether there is such a file; a name that no file can have is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def load(
    ref: str | Path,
    pops: str | None = None,
    steering: str | None = None,
    upstream: str | None = None,
) -> Network:
    """A network by name, free of problems.

    ``ref``: a name of the catalog, a file (YAML, JSON or GraphML), or a topohub key such as
    ``topozoo/Abilene``. ``pops`` puts the PoPs elsewhere: city codes or names divided by
    commas, or how many (spread by k-centre). ``steering`` is a policy in place of its own, and so
    is ``upstream``, which brings policy bgp with it if it is BGP.
    Raises NetworkError with everything that is wrong.
    """
    found = _load(str(ref), pops)
    if upstream is not None:
        carried = _word("upstream", upstream, Upstream)
        by = Policy.BGP if carried is Upstream.BGP else found.steering
        found = replace(found, upstream=carried, steering=by)
    if steering is not None:
        found = replace(found, steering=_word("steering", steering, Policy))
    if (upstream, steering) != (None, None) and (wrong := problems(found)):
        raise NetworkError(wrong)
    return found


def _word(field: str, word: str, words: type[Word]) -> Word:
    """One of the words that a field may hold."""
    try:
        return words(word)
    except ValueError:
        cause = f"{word!r} is none of its words"
        raise NetworkError([Problem((field,), cause, suggest(word, words))]) from None


def _load(ref: str, pops: str | None) -> Network:
    if ships(ref):
        in_catalog = CATALOG / f"{ref}.yaml"
        return _read(in_catalog, in_catalog.name, pops)
    if _is_file(Path(ref)):
        return _read(Path(ref), ref, pops)
    if Path(ref).suffix in (".yaml", ".yml", ".json", ".graphml"):
        raise NetworkError([Problem((), "there is no such file", "check the path", ref)])
    if "/" in ref:
        from topologies.graphs import from_topohub

        return _placed(from_topohub(ref), pops)
    names = [name for name, _ in catalog()]
    mend = f"{suggest(ref, names)}; files and topohub keys (topozoo/Abilene) work too"
    raise NetworkError([Problem((), f"there is no network {ref!r}", mend)])


def _read(path: Path, shown: str, pops: str | None) -> Network:
    if path.suffix == ".graphml":
        from topologies.graphs import from_graphml

        return _placed(from_graphml(_text(path, shown), path), pops)
    text = _text(path, shown)
    if path.suffix == ".json":
        text = text.replace("\t", " ")  # YAML, of which JSON is nearly a part, has no tabs
    network = parse(text, shown)
    return _placed(network, pops) if pops else network


def parse(text: str, file: str) -> Network:
    """The network that a file's text describes: as people write it, or as ``dump_json`` does.

    Raises NetworkError with everything that is wrong, under the name of the file.
    """
    if explicit.is_explicit(text):
        return _read_explicit(text, file)
    from topologies.files import read  # pydantic takes 0.2 s to import

    return read(text, file)


def _text(path: Path, shown: str) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            cause = f"over {MAX_BYTES:,} bytes are no network"
            raise NetworkError([Problem((), cause, "give a smaller file", shown)])
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NetworkError([Problem((), str(error), "give a readable text file", shown)]) from error


def _read_explicit(text: str, shown: str) -> Network:
    try:
        network = explicit.parse_json(text)
        _refuse(network, shown)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        mend = "write it again with topologies.sources.dump_json"
        raise NetworkError([Problem((), f"damaged: {error}", mend, shown)]) from error
    return network


def _placed(network: Network, pops: str | None) -> Network:
    from topologies.placement import with_pops

    placed = with_pops(network, pops or str(min(DEFAULT_POPS, len(network.cities))))
    _refuse(placed, "")
    return placed


def _refuse(network: Network, shown: str) -> None:
    found = problems(network)
    if found:
        raise NetworkError(replace(problem, file=shown) for problem in found)
