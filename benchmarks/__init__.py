"""Speed goals, each measured as a ratio against a peer in the same run. Not part of the tests."""
