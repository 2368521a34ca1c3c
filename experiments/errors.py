"""What goes wrong above the lab. Every message is one sentence with the cause and what mends it."""

from __future__ import annotations


class UsageError(Exception):
    """The question cannot be asked like this; nothing was built (exit code 2)."""


class TrialError(Exception):
    """The trial was started and gave no answer (exit code 1)."""
