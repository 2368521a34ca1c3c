"""Who reaches what: anycast steering, balancing inside a PoP, and address lending."""
