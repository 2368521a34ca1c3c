"""What acts for servers: it borrows addresses for them, keeps them, and lets programs use them.

``python -m controller.agent`` is one process for all servers of a lab. ``client`` is the DHCP
client of one lease, ``server`` keeps a server's leases and configures its namespace by them with
``address``, ``orders`` takes wishes while it runs, and ``status`` is the file that tells others.
``ports`` are those in use, ``usage`` is their history, ``growth`` decides when they are too few,
and ``metrics`` tells Prometheus. ``borrowed`` is the library by which programs choose among several
leases, ``proxy`` chooses for programs that know nothing of leases. No Ryu in here.
"""
