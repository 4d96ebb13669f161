/* What is said: to everybody on the screen, and aloud by a screen reader. */

import { html, useEffect, useState } from "./vendor/preact-htm.js";

let say = () => {};

/** Have a screen reader say something, without moving the focus. */
export const announce = (text) => say(text);

/** The place from which a screen reader reads what is announced. */
export function Announcer() {
  const [text, setText] = useState("");
  useEffect(() => {
    say = setText;
  }, []);
  return html`<div class="unseen" role="status" aria-live="polite" id="announcer">${text}</div>`;
}

/** A problem in words, with what to do. */
export function Wrong({ problem, again }) {
  if (!problem) return null;
  return html`<div class="problem" role="alert">
    <p><strong>${problem.message}</strong>${problem.remedy && html` ${problem.remedy}`}</p>
    ${again && html`<button type="button" onClick=${again}>Try again</button>`}
  </div>`;
}

/** What is shown of something that is loaded: itself, that it comes, or why it does not. */
export function Loaded({ of, what, children }) {
  if (of.value != null)
    return html`${of.problem && html`<${Wrong} problem=${of.problem} again=${of.reload} />`}
      ${children(of.value)}`;
  if (of.problem) return html`<${Wrong} problem=${of.problem} again=${of.reload} />`;
  return html`<p class="loading" role="status">Loading ${what} …</p>`;
}
