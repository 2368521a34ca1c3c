"""What a lab on the triangle says of a packet that goes from FCO to the PoP of LHR, and back."""

from __future__ import annotations

from typing import Any


def hop(switch: str, duty: str, to: str) -> dict[str, Any]:
    """One switch of a way."""
    rule = {"table": 0, "priority": 1, "duty": duty}
    said = f"Flow: tcp\n\nDatapath actions: {duty}\n"
    told = {"said": said, "rules": [rule], "label": None}
    return {"switch": switch, **told, "to": to, "cut": False}


WAY = {
    "there": [
        hop("tFCO", "steer", "tLHR"),
        hop("tLHR", "label", "eLHR"),
        hop("eLHR", "balance", "LHR-s1"),
    ],
    "ends": {"hosts": ["LHR-s1"], "why": "delivered"},
    "back": [
        hop("eLHR", "route", "tLHR"),
        hop("tLHR", "route", "tARN"),
        hop("tARN", "route", "tFCO"),
        hop("tFCO", "route", "FCO-c1"),
    ],
    "answer_ends": {"hosts": ["FCO-c1"], "why": "delivered"},
}
THERE, BACK = ["FCO-LHR"], ["LHR-ARN", "ARN-FCO"]
"""The links of the map on both ways."""

ASKED = {"host": "FCO-c1", "destination": "198.51.100.1", "protocol": "tcp", "port": 80}
