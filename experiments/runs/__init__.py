"""A run: its spec, the sandboxed trial that carries it out, and the folder that it leaves."""
