"""What can be done from the page: words of the control socket, and the words that undo them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from experiments.live.state import CUT, KILLED, SILENT
from topologies.units import format_rate

__all__ = ["ACTS", "Act", "BadActError", "read", "undoing"]

ACTS: Mapping[str, tuple[str, ...]] = {
    "link.cut": ("link",),
    "link.blackhole": ("link",),
    "link.set": ("link", "delay", "loss", "rate"),
    "link.restore": ("link",),
    "pop.drain": ("pop",),
    "pop.withdraw": ("pop",),
    "pop.announce": ("pop",),
    "policy.set": ("policy",),
    "server.kill": ("server",),
    "server.restart": ("server",),
    "server.sick": ("server",),
    "server.well": ("server",),
    "lease.move": ("lease", "server"),
    "lease.revoke": ("lease",),
    "target.flood": ("target", "rate"),
    "target.spare": ("target",),
}
"""The words that the page may say, and the parameters of each, its subject first. It may say no
others."""

_CHOSEN = {"link.set": frozenset({"delay", "loss", "rate"})}
"""Of these parameters one or more are said."""

_SAID = {"server": "to"}
"""How a parameter that is no subject is called in a sentence, if not by its name."""

_POP_WORDS = {"announced": "pop.announce", "drained": "pop.drain", "withdrawn": "pop.withdraw"}


class BadActError(ValueError):
    """What was asked for is no act of the page; the text says why."""


@dataclass(frozen=True, slots=True)
class Act:
    """A word of the control socket and its parameters."""

    word: str
    params: Mapping[str, str]

    @property
    def sentence(self) -> str:
        """The act in words, ``link cut LHR-CDG``, much as the log has it."""
        subject, *others = ACTS[self.word]
        given = (name for name in others if name in self.params)
        more = (f"{_SAID.get(name, name)} {self.params[name]}" for name in given)
        return " ".join([*self.word.split("."), self.params[subject], *more])

    def dump(self) -> dict[str, Any]:
        """As ``read`` takes it."""
        return {"word": self.word, "params": dict(self.params)}


def read(data: Any) -> Act:
    """The act in a JSON value. Raises BadActError."""
    if not isinstance(data, dict) or data.keys() != {"word", "params"}:
        raise BadActError("An act is an object with a word and its params.")
    word, params = data["word"], data["params"]
    if not isinstance(word, str) or word not in ACTS:
        raise BadActError(f"The page does not say {word!r}: it says {', '.join(ACTS)}.")
    if not isinstance(params, dict) or not _takes(word, set(params)):
        raise BadActError(f"{word} takes {' and '.join(ACTS[word])}.")
    if not all(isinstance(value, str) for value in params.values()):
        raise BadActError(f"What {word} takes is text.")
    return Act(word, params)


def _takes(word: str, given: set[str]) -> bool:
    """Whether these are parameters that a word can be said with."""
    known, chosen = set(ACTS[word]), _CHOSEN.get(word, frozenset())
    return known - chosen <= given <= known and (not chosen or not chosen.isdisjoint(given))


def undoing(act: Act, before: Mapping[str, Any]) -> Act | None:
    """What makes undone an act that is done to a lab in the state ``before``; None if nothing can.

    An act that changes nothing has nothing to undo. A port set that is taken from its holder may
    be somebody else's the next moment, so that a revocation stays.
    """
    return _UNDOING[act.word.partition(".")[0]](act, before)


def _link(act: Act, before: Mapping[str, Any]) -> Act | None:
    ends = sorted(act.params["link"].split("-"))
    links = [*before["links"], *(pop["uplink"] for pop in before["pops"])]
    was = next((x for x in links if sorted(x["link"].split("-")) == ends), None)
    if was is None:
        return None
    link = {"link": act.params["link"]}
    if act.word == "link.set":
        rate = was["rate_bit_s"]
        does = {
            "delay": f"{was['delay_ms']:.10g} ms",
            "loss": f"{100 * was['loss']:.10g} %",
            "rate": "none" if rate is None else format_rate(rate),
        }
        return Act("link.set", link | {name: does[name] for name in does if name in act.params})
    word = {CUT: "link.cut", SILENT: "link.blackhole"}.get(was["state"], "link.restore")
    return None if word == act.word else Act(word, link)


def _pop(act: Act, before: Mapping[str, Any]) -> Act | None:
    was = next((x["state"] for x in before["pops"] if x["pop"] == act.params["pop"]), None)
    word = _POP_WORDS.get(was or "", act.word)
    return None if word == act.word else Act(word, act.params)


def _policy(act: Act, before: Mapping[str, Any]) -> Act | None:
    was = before["policy"]
    return None if was == act.params["policy"] else Act("policy.set", {"policy": was})


def _lease(act: Act, before: Mapping[str, Any]) -> Act | None:
    if act.word == "lease.revoke":
        return None
    sets = (one for address in before["addresses"] for one in address["sets"])
    found = next((x for x in sets if x.get("lease") == act.params["lease"]), None)
    if found is None or found["server"] == act.params["server"]:
        return None
    return Act("lease.move", {"lease": found["lease"], "server": found["server"]})


def _target(act: Act, before: Mapping[str, Any]) -> Act | None:
    name = act.params["target"]
    rate = next((x["bit_s"] for x in before["floods"] if x["target"] == name), None)
    if rate is not None:
        return Act("target.flood", {"target": name, "rate": format_rate(rate)})
    return None if act.word == "target.spare" else Act("target.spare", {"target": name})


def _server(act: Act, before: Mapping[str, Any]) -> Act | None:
    name = act.params["server"]
    was = next((x for x in before["servers"] if x["server"] == name), None)
    if was is None:
        return None
    if act.word in ("server.kill", "server.restart"):
        word = "server.kill" if was["state"] == KILLED else "server.restart"
    else:
        word = "server.well" if was["weight"] else "server.sick"
    return None if word == act.word else Act(word, act.params)


_UNDOING: Mapping[str, Callable[[Act, Mapping[str, Any]], Act | None]] = {
    "link": _link,
    "pop": _pop,
    "policy": _policy,
    "server": _server,
    "lease": _lease,
    "target": _target,
}


@dataclass(frozen=True, slots=True)
class Done:
    """An act that can be made undone; ``number`` names it for ever."""

    number: int
    act: Act
    undo: Act

    @property
    def sentence(self) -> str:
        """What was done, for the button that undoes it."""
        return self.act.sentence
