"""The tests; a package, so that no other one by this name is found instead."""
