"""The only code that touches the kernel: sandbox, virtual switches, links, namespaces."""
