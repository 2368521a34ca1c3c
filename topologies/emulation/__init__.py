"""The only code that touches the kernel: sandbox, virtual switches, links, namespaces."""

from topologies import no_distutils

no_distutils.stand_in()  # for Mininet
