"""The names of what the study internet compares, as they stand in its samples."""

GENERATED = "generated"
"""The word for relations that are drawn, not read from a file."""

RANDOM, GREEDY, GIVEN = "random", "greedy", "given"
"""Where sites are."""

LAWFUL, LEAK = "lawful", "leak"
"""The given sites without and with a route leak."""

ANNOUNCED, DESCENDED = "announced", "descended"
"""The given sites, announced in one of many ways; and on the way down to a good one."""

PLAIN, SHIFTED, PREPENDED = "plain", "all prepended", "largest prepended"
"""Ways that say what prepending does."""
