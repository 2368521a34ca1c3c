"""What can be asked of a running lab, and done to it: by hand, from outside, by a study.

``words`` holds every query and command, once; ``server`` offers them on the lab's Unix socket,
``client`` and ``places`` find and use it from outside, ``scenario`` says them at given times.
"""
