"""An Internet of autonomous systems (ASes), as arrays: who pays whom, who peers, where each one is.

``graph`` is what it is, ``generate`` draws one from a seed, ``caida`` reads relations that CAIDA
has inferred. Nothing here comes alive in a lab: ``controller.core.steering.vectorised`` computes on
it.
"""
