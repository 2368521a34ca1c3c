"""Measure from inside the hosts of a running lab.

One process holds the sockets of every host: a socket is made inside the host's network
namespace and kept, so no probe costs a process. Each module measures one thing:

- ``ping``: ICMP echo, ``udp``: UDP echo; send and receive times come from the kernel.
- ``tcp``: connects from a chosen address and port set. ``http``: GETs, direct or by a proxy.
- ``open_loop``: attempts that start when they are due, by the schedules of ``arrivals``;
  ``closed_loop``: connections that ask when they are answered. ``meanwhile`` runs either beside
  what else is done.
- ``bulk``: a transfer by iperf3; ``wrk``: a load by wrk, where it is installed.
- ``judge``: counts packets that reached a server which does not hold their address and port.
- ``fidelity``: how loaded the machine was, and how far RTTs are from the model.
- ``wait``: polls a state with a deadline. ``claim``: puts a foreign address on a host.

Rows are frozen dataclasses with the unit in the field's name; ``pandas.DataFrame(rows)`` takes
a list of them. A lost reply is None, never 0. Hosts are named as in the plan.
"""
