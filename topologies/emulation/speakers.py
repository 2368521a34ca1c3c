"""BGP speakers that run: FRR's zebra and bgpd, unchanged, in a namespace for each.

They read files from ``topologies.speakers``, and are changed and asked in the words of FRR's shell
vtysh, at the sockets that it uses. What the network does is read from them, never assumed.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, TypeVar

from topologies.emulation import netns, vty
from topologies.emulation.processes import LabError, Program, start, until
from topologies.emulation.vty import SOCKETS
from topologies.model import Timers
from topologies.speakers import US, Announcement, Speaker, bfd, configuration, watched

DAEMONS = Path("/usr/lib/frr")
"""Where Debian's package has them."""

USER = "frr"
"""Who they run as: as root they refuse."""

APART_S = 0.01
"""Between two speakers that start: in virtual time no time would pass until all of them have."""

LOOK_S = 1.0
QUIET_S = 3.0
"""Who has said nothing for so long, and MRAI, has nothing to say; FRR itself waits up to 1 s."""

MEND = "install FRR with `make bgp`"

Answer = TypeVar("Answer")

_SILENT = Announcement()


@dataclass(frozen=True, slots=True)
class Route:
    """A route that a speaker knows: from which PoP (its number), over which networks.

    ``why`` says, in the speaker's own words, why it is the best; it is empty for others.
    """

    pop: int
    path: tuple[int, ...]
    why: str

    @property
    def best(self) -> bool:
        """Whether the speaker has chosen it."""
        return bool(self.why)


def problem() -> str | None:
    """Why no speaker can run on this machine; None if they can."""
    for name in ("zebra", "bgpd"):
        if not (DAEMONS / name).exists():
            return f"there is no {DAEMONS / name}: {MEND}"
    return None


class Speakers:
    """All speakers of a network, in namespaces of their names, which exist and are wired."""

    def __init__(
        self, speakers: Iterable[Speaker], logs: Path, timers: Timers, bfd_ns: int | None = None
    ) -> None:
        """Nothing runs yet; ``logs`` gets a file for each program.

        Every ``bfd_ns`` they tell their neighbours in other networks that they live (RFC 5880).
        """
        self._bfd_ns = bfd_ns
        self._speakers = {speaker.name: speaker for speaker in speakers}
        self._logs = logs
        self._timers = timers
        self.programs: dict[str, Program] = {}

    def start(self, told: Mapping[str, Announcement]) -> None:
        """Start all; ``told`` is what PoPs' speakers announce. Raises LabError."""
        if cause := problem():
            raise LabError(f"BGP cannot be spoken here: {cause}.")
        SOCKETS.mkdir(exist_ok=True)
        for name, speaker in self._speakers.items():
            folder = SOCKETS / name
            folder.mkdir()
            text = configuration(
                speaker, told.get(name, _SILENT), self._timers, bfd=self._bfd_ns is not None
            )
            (folder / "bgpd.conf").write_text(text)
            (folder / "bfdd.conf").write_text(bfd(self._bfd_ns or 0))
            shutil.chown(folder, USER)
            self._launch(name, "zebra", "-f", "/dev/null")
            time.sleep(APART_S)
        for name in self._speakers:
            folder = SOCKETS / name
            # Who finds no zebra asks again after ten seconds, and what it has learnt meanwhile is
            # never used: zebra was not asked whether the next hop is there.
            until((folder / "zebra.vty").exists, f"zebra of {name} to listen")
            if self._bfd_ns is not None:
                more = ("--bfdctl", str(folder / "bfdctl.sock"))
                self._launch(name, "bfdd", "-f", str(folder / "bfdd.conf"), *more)
            self._launch(name, "bgpd", "-f", str(folder / "bgpd.conf"), "-P", "0")
            time.sleep(APART_S)

    def _launch(self, name: str, daemon: str, *words: str) -> None:
        folder = SOCKETS / name
        own = ("-u", USER, "-g", USER, "-i", str(folder / f"{daemon}.pid"))
        sockets = ("-z", str(folder / "zebra.sock"), "--vty_socket", str(folder))
        argv = [str(DAEMONS / daemon), *own, *sockets, "--log", "stdout", *words]
        with netns.inside(name):
            self.programs[f"{daemon} {name}"] = start(f"{daemon}-{name}", argv, self._logs)

    def stop(self) -> None:
        """End all at once, as a power cut would: nobody says goodbye."""
        for program in self.programs.values():
            program.kill()
        self.programs.clear()

    def listen(self) -> bool:
        """Whether every speaker can be asked."""
        return all(vty.door(name).exists() for name in self._speakers)

    def _talks(self, name: str, summary: Mapping[str, Any]) -> bool:
        """Whether every session of a speaker is up."""
        peers = dict(summary.get("peers", {}))
        wanted = len(self._speakers[name].sessions)
        return len(peers) == wanted and all(map(_is_up, peers.values()))

    def watch(self, on: bool) -> None:
        """Have those who speak to another network watch each other by BFD, or no more.

        Raises LabError.
        """
        for name, speaker in self._speakers.items():
            outside = [session.peer for session in speaker.sessions if session.kind is not None]
            words = [word for peer in outside for word in watched(peer, on)]
            vty.say(name, "configure terminal", f"router bgp {speaker.asn}", *words, "end")

    def hear(self) -> bool:
        """Whether all that are watched by BFD are heard. Raises LabError."""
        watched = (peer["peerBfdInfo"] for peer in self._neighbours() if "peerBfdInfo" in peer)
        return all(found["status"] == "Up" for found in watched)

    def pace(self, advertisement_s: int) -> None:
        """Let at least so long lie between two updates of a session (MRAI). Raises LabError."""
        self._timers = replace(self._timers, advertisement_s=advertisement_s)
        for name, speaker in self._speakers.items():
            outside = (session for session in speaker.sessions if session.kind is not None)
            words = (f"neighbor {x.peer} advertisement-interval {advertisement_s}" for x in outside)
            vty.say(name, "configure terminal", f"router bgp {speaker.asn}", *words, "end")

    def updates(self) -> int:
        """How many updates all speakers have sent. Raises LabError."""
        return sum(int(peer["messageStats"]["updatesSent"]) for peer in self._neighbours())

    def tables(self) -> dict[str, int]:
        """By speaker, how often its table has changed; who has nothing left to say is at rest."""
        return {name: int(found["tableVersion"]) for name, found in self._each(self._summary)}

    def rest(self, prefixes: Iterable[IPv4Network]) -> Callable[[], bool]:
        """Asks whether all routes are found: to some prefixes in every city, and long unchanged."""
        wanted, seen, since = tuple(prefixes), dict[str, int](), 0.0

        def at_rest() -> bool:
            nonlocal seen, since
            time.sleep(LOOK_S)
            now, before = time.monotonic(), seen
            found = dict(self._each(self._summary)) if self.listen() else {}
            seen = {name: int(x["tableVersion"]) for name, x in found.items()}
            if seen != before or not all(self._talks(name, x) for name, x in found.items()):
                since = now
                return False
            if now < since + self._timers.advertisement_s + QUIET_S:
                return False
            cities = [name for name, speaker in self._speakers.items() if not speaker.pop]
            return all(found[name] for found in map(self.routes, wanted) for name in cities)

        return at_rest

    def routes(self, prefix: IPv4Network) -> dict[str, tuple[Route, ...]]:
        """By speaker: the routes to a prefix that it knows, the best first. Raises LabError."""

        def known(name: str) -> tuple[Route, ...]:
            found = vty.ask(name, f"show bgp ipv4 unicast {prefix} json").get("paths", ())
            routes = (_route(path, self._speakers[name]) for path in found)
            return tuple(sorted(routes, key=lambda route: not route.best))

        return dict(self._each(known))

    def _neighbours(self) -> Iterator[dict[str, Any]]:
        """What every speaker says of each of its neighbours."""
        for name in self._speakers:
            yield from vty.ask(name, "show bgp neighbors json").values()

    def _summary(self, name: str) -> Mapping[str, Any]:
        return vty.ask(name, "show bgp ipv4 unicast summary json")

    def _each(self, ask: Callable[[str], Answer]) -> Iterator[tuple[str, Answer]]:
        """What each speaker answers."""
        return ((name, ask(name)) for name in self._speakers)


def _is_up(peer: Mapping[str, Any]) -> bool:
    return bool(peer["state"] == "Established")


def _route(path: Mapping[str, Any], speaker: Speaker) -> Route:
    """A path as FRR tells it; a PoP's own route carries no number yet."""
    best = path.get("bestpath", {})
    told = path.get("largeCommunity", {}).get("string", f"{US}:0:{speaker.pop}")
    segments = path.get("aspath", {}).get("segments", ())
    return Route(
        pop=int(told.split(":")[2]),
        path=tuple(int(number) for segment in segments for number in segment["list"]),
        why=str(best.get("selectionReason", "first")) if best.get("overall") else "",
    )
