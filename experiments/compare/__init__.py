"""Runs side by side: their metrics with intervals, what they do not share, and a bar for CI."""
