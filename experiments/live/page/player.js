// A finished run: a slider over its time, and what was so at each moment.

import { write } from "./rows.js";

const STEP_MS = 100;
const at = (name) => document.getElementById(name);
const framed = window.parent !== window; // one of two: who has the slider tells the time
let now = 0;
let playing = null;

/** Call `show` with each new time, in milliseconds from the start. */
export function prepare(show) {
  const { length_ms: length, news_ms: news } = JSON.parse(at("played").textContent);
  at("time").max = Math.ceil(length);
  const go = (ms) => {
    now = Math.min(Math.max(ms, 0), length);
    at("time").value = now;
    at("time").setAttribute("aria-valuetext", said(now, length));
    write(at("time-said"), said(now, length));
    show(now);
  };
  const pause = () => {
    clearInterval(playing);
    playing = null;
    write(at("play"), "Play");
  };
  at("time").addEventListener("input", () => (pause(), go(at("time").valueAsNumber)));
  at("before").addEventListener("click", () => (pause(), go(news.findLast((ms) => ms < now - 0.001) ?? 0)));
  at("after").addEventListener("click", () => (pause(), go(news.find((ms) => ms > now + 0.001) ?? length)));
  at("play").addEventListener("click", () => {
    if (playing) return pause();
    if (now >= length) now = 0;
    write(at("play"), "Pause");
    playing = setInterval(() => {
      go(now + STEP_MS * Number(at("speed").value));
      if (now >= length) pause();
    }, STEP_MS);
  });
  if (framed) {
    at("transport").hidden = true;
    window.addEventListener("message", (event) => {
      if (event.origin === location.origin && typeof event.data?.ms === "number") go(event.data.ms);
    });
  }
  at("before").hidden = at("after").hidden = !news.length;
  go(0);
  if (framed) window.parent.postMessage({ ready: true }, location.origin);
}

function said(ms, length) {
  return `${(ms / 1000).toFixed(3)} s of ${(length / 1000).toFixed(3)} s`;
}

/** Ask for moments, one after the other; those that are late when it answers are left out. */
export function moments(hear) {
  let asking = false;
  let wanted = null;
  return async function show(ms) {
    wanted = ms;
    if (asking) return;
    asking = true;
    while (wanted !== null) {
      const asked = wanted;
      wanted = null;
      try {
        const answer = await fetch(`moment?ms=${asked}`);
        hear.moment(await answer.json());
        hear.lost(false);
      } catch {
        hear.lost(true);
        wanted = null;
      }
    }
    asking = false;
  };
}
