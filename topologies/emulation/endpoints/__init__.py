"""What answers inside the hosts: HTTP, UDP echo and DNS, for a whole lab at once.

One asyncio process holds the sockets of every host. A socket belongs to the namespace it was
made in, so hundreds of hosts cost one program. Run it inside the sandbox:
``python -m topologies.emulation.endpoints NETWORK.json --ready-file PATH``.
"""
