"""Many trials of one study: over ranges of what shapes it, repeated, on one machine or many."""
