"""Figures of the studies: PNG, and SVG beside it; axes with units, readable in grey and by
colour-blind people. A module for each study, by its name.
"""
