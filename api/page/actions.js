/* Pause, resume, cancel, extend. A button that cannot be used stays, so that the focus does too. */

import { html, useState } from "./vendor/preact-htm.js";
import { ask } from "./api.js";
import { Dialog } from "./dialog.js";
import { ENDED, STATES } from "./format.js";
import { announce, Wrong } from "./says.js";

const HALTED = new Set(["paused", "failed", "cancelled"]);
const GOING = new Set(["validating", "queued", "running"]);

/** What can be done in which state. */
export const ALLOWED = {
  pause: (state) => GOING.has(state),
  resume: (state) => HALTED.has(state),
  extend: (state) => state !== "cancelling",
  cancel: (state) => !ENDED.has(state) && state !== "cancelling",
};

const DONE = { pause: "The search pauses.", resume: "The search goes on.", extend: "The search has new limits.", cancel: "The search is cancelled." };

function Button({ name, job, busy, act, kind = "" }) {
  const off = busy || !ALLOWED[name](job.state);
  const text = name.charAt(0).toUpperCase() + name.slice(1);
  const press = () => (off ? announce(`${text} is not possible: the search is ${STATES[job.state]}.`) : act());
  return html`<button type="button" class=${kind} aria-disabled=${off ? "true" : "false"} onClick=${press}>${text}</button>`;
}

function Extend({ job, close, extend }) {
  const { trials, seconds, finals } = job.request.limits ?? {};
  const [limits, setLimits] = useState({ trials, minutes: seconds ? seconds / 60 : "", finals });
  const field = (name, text, least, step = 1) => html`<label for=${`extend-${name}`}>${text}</label>
    <input id=${`extend-${name}`} type="number" min=${least} step=${step} value=${limits[name]}
      onInput=${(event) => setLimits({ ...limits, [name]: event.target.value })} />`;
  const send = (event) => {
    event.preventDefault();
    const number = (value) => (value === "" || value == null ? undefined : Number(value));
    const minutes = number(limits.minutes);
    extend({ trials: number(limits.trials), seconds: minutes && 60 * minutes, finals: number(limits.finals) });
  };
  return html`<form onSubmit=${send}>
    <p class="hint">Nothing is measured twice: the search goes on from what it knows.</p>
    ${field("trials", "Trials in all, baselines included", 1)}
    ${field("minutes", "Minutes at most for one run (empty: as it was)", 0, "any")}
    ${field("finals", "Fresh seeds of each finalist", 0)}
    <div class="buttons"><button type="submit" class="primary">Extend the search</button>
      <button type="button" onClick=${close}>Close</button></div>
  </form>`;
}

export function Actions({ job, changed }) {
  const [open, setOpen] = useState("");
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState(null);
  const act = async (verb, body) => {
    setBusy(true);
    setProblem(null);
    setOpen("");
    try {
      await ask(`searches/${encodeURIComponent(job.id)}/${verb}`, { method: "POST", body });
      announce(DONE[verb]);
    } catch (found) {
      setProblem(found);
    }
    setBusy(false);
    await changed();
  };
  const button = (name, call, kind) => html`<${Button} name=${name} job=${job} busy=${busy} act=${call} kind=${kind} />`;
  const close = () => setOpen("");
  return html`<div class="buttons" role="group" aria-label="What to do with the search">
      ${button("pause", () => act("pause"))} ${button("resume", () => act("resume"))}
      ${button("extend", () => setOpen("extend"))} ${button("cancel", () => setOpen("cancel"), "danger")}
    </div>
    <${Wrong} problem=${problem} />
    <${Dialog} open=${open === "extend"} close=${close} title="Extend the search">
      <${Extend} job=${job} close=${close} extend=${(limits) => act("extend", limits)} /><//>
    <${Dialog} open=${open === "cancel"} close=${close} title="Cancel the search?">
      <p>What is measured is kept, and it can be resumed later.</p>
      <div class="buttons"><button type="button" class="danger" onClick=${() => act("cancel")}>Cancel the search</button>
        <button type="button" onClick=${close}>Let it go on</button></div><//>`;
}
