/* Whether the service answers. When it does not, this asks until it does. */

const EVERY = 2000;
const listeners = new Set();
let state = { up: true, since: null, regained: 0 };
let timer = null;

/** Hear of every change; returns how to stop. */
export function listen(call) {
  listeners.add(call);
  return () => listeners.delete(call);
}

export const now = () => state;

function become(next) {
  state = next;
  for (const call of listeners) call(state);
}

/** Say that a question was not answered. */
export function lost() {
  if (!state.up) return;
  become({ ...state, up: false, since: new Date() });
  timer = setInterval(probe, EVERY);
}

/** Say that a question was answered. */
export function found() {
  if (state.up) return;
  clearInterval(timer);
  become({ up: true, since: null, regained: state.regained + 1 });
}

async function probe() {
  try {
    const answer = await fetch(new URL("healthz", document.baseURI), { cache: "no-store" });
    if (answer.ok) found();
  } catch {
    /* still away: the next probe will tell */
  }
}

addEventListener("online", probe);
