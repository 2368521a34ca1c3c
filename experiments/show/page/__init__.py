"""A run as one web page, ``report.html``: it opens offline, on a phone too, and asks nobody.

Each module makes a part of it from a run's data, and the templates put them together.
"""
