// What the server pushes. A connection that is silent is lost, and is made again until it holds.

const PATIENCE_MS = 4000;
const AGAIN_MS = 1000;

/** Call `hear.view`, `hear.trips`, `hear.traffic`, `hear.log` and `hear.lost` (with true or false) as it comes. */
export function listen(hear) {
  let source;
  let last;

  function connect() {
    source?.close();
    source = new EventSource("events");
    last = Date.now();
    for (const kind of ["view", "trips", "traffic", "log", "beat"]) {
      source.addEventListener(kind, (event) => {
        last = Date.now();
        hear.lost(false);
        hear[kind]?.(JSON.parse(event.data));
      });
    }
    source.addEventListener("error", () => hear.lost(true));
  }

  connect();
  setInterval(() => {
    const silent = Date.now() - last > PATIENCE_MS;
    if (silent) hear.lost(true);
    if (silent || source.readyState === EventSource.CLOSED) connect();
  }, AGAIN_MS);
}

/** Send something to the server: what it answers, or an error in words. */
export async function post(where, data) {
  try {
    const answer = await fetch(where, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(data),
    });
    return await answer.json();
  } catch {
    return { error: "The server of this page does not answer." };
  }
}
