"""What pages are told: everything once, views at their latest, and a log that begins anew."""

from __future__ import annotations

import asyncio
import json

from experiments.live.hub import LINES, Hub, Seen


def test_a_page_that_opens_is_told_all_and_then_what_is_new() -> None:
    hub, seen = Hub(), Seen()
    hub.show({"x": 1})
    hub.tell(["one", "two"])
    assert hub.news(seen) == [("view", '{"x":1}'), ("log", _log(["one", "two"], whole=True))]
    assert hub.news(seen) == []
    hub.tell(["three"])
    assert hub.news(seen) == [("log", _log(["three"]))]
    assert hub.news(Seen())[1] == ("log", _log(["one", "two", "three"], whole=True))


def test_views_that_nobody_read_are_skipped() -> None:
    hub, seen = Hub(), Seen()
    for x in range(3):
        hub.show({"x": x})
    assert ("view", '{"x":2}') in hub.news(seen)
    hub.show({"x": 2})
    assert hub.news(seen) == []


def test_another_log_replaces_the_first() -> None:
    hub, seen = Hub(), Seen()
    hub.tell(["one", "two"])
    hub.news(seen)
    hub.tell(["other"], anew=True)
    assert hub.news(seen) == [("log", _log(["other"], whole=True))]


def test_a_log_is_kept_to_its_last_lines() -> None:
    hub, seen = Hub(), Seen()
    hub.news(seen)
    hub.tell([str(n) for n in range(LINES + 5)])
    ((_, told),) = hub.news(seen)
    assert json.loads(told)["lines"] == [str(n) for n in range(5, LINES + 5)]


def test_who_waits_is_woken_by_news_by_time_and_at_the_end() -> None:
    async def story() -> None:
        hub, seen = Hub(), Seen()
        assert [kind for kind, _ in await hub.wait(seen, 9)] == ["log"]
        assert await hub.wait(seen, 0.01) == []
        waiting = asyncio.create_task(hub.wait(seen, 9))
        await asyncio.sleep(0)
        hub.tell(["one"])
        assert await waiting == [("log", _log(["one"]))]
        waiting = asyncio.create_task(hub.wait(seen, 9))
        await asyncio.sleep(0)
        hub.close()
        assert await waiting == []
        assert hub.closed

    asyncio.run(asyncio.wait_for(story(), 5))


def _log(lines: list[str], *, whole: bool = False) -> str:
    return json.dumps({"whole": whole, "lines": lines})
