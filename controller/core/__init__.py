"""Pure decisions: state in, rules out. Nothing here knows Ryu, sockets or clocks."""
