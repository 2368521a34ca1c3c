"""The shims, in a process of their own: they patch the standard library."""

from __future__ import annotations

import subprocess
import sys

import pytest

# A hub is told that five descriptors are ready, in an order of ours; whom does it call first?
# What is kept alive between the listeners moves them to other addresses.
PROGRAM = """
import sys
if sys.argv[1] == "shims":
    from controller.ryu_compat import prepare
    prepare()
import eventlet
from eventlet.hubs import poll

class Told(poll.Hub):
    def do_poll(self, seconds):
        return [(number, self.READ_MASK) for number in (9, 3, 7, 5, 8)]
    def add(self, *arguments):
        keep.append([object() for _ in range(257 * len(keep))])
        return poll.hub.BaseHub.add(self, *arguments)

orders = set()
for _ in range(12):
    keep, called = [], []
    told = Told()
    for number in (3, 5, 7, 8, 9):
        told.add(told.READ, number, called.append, None, None)
    told.wait(0)
    orders.add(tuple(called))
print(len(orders))
"""


# Green threads wait for one event, which then comes; who goes on first?
WAITERS = """
import sys
if sys.argv[1] == "shims":
    from controller.ryu_compat import prepare
    prepare()
import eventlet
from eventlet.event import Event

orders = set()
for _ in range(12):
    keep, told, event = [], [], Event()
    def wait(number):
        event.wait()
        told.append(number)
    for number in range(20):
        keep.append([object() for _ in range(257 * len(keep))])
        keep.append(eventlet.spawn(wait, number))
        eventlet.sleep(0)
    event.send()
    for thread in keep[1::2]:
        thread.wait()
    orders.add(tuple(told))
print(len(orders))
"""


# A switch tells of a thousand things while the application has no turn: how many can it tell?
EVENTS = """
import sys
from controller.ryu_compat import hear_all, prepare
prepare()
import eventlet
from ryu.base.app_manager import RyuApp

app = RyuApp()
if sys.argv[1] == "shims":
    hear_all(app)
for number in range(1000):
    with eventlet.Timeout(0.1, False):
        app._send_event(number, None)
        continue
    break
heard = [app.events.get()[0] for _ in range(app.events.qsize())]
assert heard == list(range(len(heard)))
print(len(heard))
"""


@pytest.mark.parametrize(("shims", "heard"), [("shims", 1000), ("none", 128)])
def test_what_a_switch_tells_does_not_wait_in_its_socket(shims: str, heard: int) -> None:
    command = [sys.executable, "-W", "ignore", "-c", EVENTS, shims]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) == heard


@pytest.mark.parametrize("shims", [True, False])
def test_who_waits_for_an_event_goes_on_in_the_order_of_coming(shims: bool) -> None:
    command = [sys.executable, "-W", "ignore", "-c", WAITERS, "shims" if shims else "none"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (int(done.stdout) == 1) is shims


@pytest.mark.parametrize("shims", [True, False])
def test_connections_are_served_in_an_order_that_memory_does_not_change(shims: bool) -> None:
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, "shims" if shims else "none"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (int(done.stdout) == 1) is shims
