"""A running lab in a browser: one more client of its control socket, of which it knows nothing.

``state`` and ``acts`` are pure: what is to be seen, what can be done and undone. ``follower`` asks
a lab, ``hub`` keeps what is new for the pages that are open, ``server`` and ``doors`` let a browser
in. ``playback`` is a finished run at any moment, which ``player`` serves. ``page`` holds the page.
"""
