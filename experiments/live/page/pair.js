// Two runs side by side: one slider tells both the time, each counted from its own start.

import { prepare } from "./player.js";

const frames = [...document.querySelectorAll("iframe")];
let now = 0;

function tell() {
  for (const frame of frames) frame.contentWindow.postMessage({ ms: now }, location.origin);
}

window.addEventListener("message", (event) => {
  if (event.origin === location.origin && event.data?.ready) tell();
});
prepare((ms) => {
  now = ms;
  tell();
});
