"""A server's egress proxy: programs that know nothing of leases choose by tag where they come from.

One port takes HTTP CONNECT (``http``) and SOCKS5, also for datagrams (``socks``, ``datagrams``);
the user name is the tag, the password does not matter. Without a user name connections leave from
the server's own address::

    curl --proxytunnel --proxy http://gb:@127.0.0.1:808 http://172.16.0.1/trace
    curl --proxy socks5://gb:x@127.0.0.1:808 http://172.16.0.1/trace

``service`` listens and answers, ``tunnel`` connects and carries. Names are not resolved: a
destination is a literal IPv4 address.
"""

from controller.agent.proxy.service import PROXY_PORT, Proxy

__all__ = ["PROXY_PORT", "Proxy"]
