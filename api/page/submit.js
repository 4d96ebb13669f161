/* The form for a new search: what is asked, what it would cost, and its start. */

import { html, useEffect, useRef, useState } from "./vendor/preact-htm.js";
import { ask, freshName, submit } from "./api.js";
import { catalog } from "./catalog.js";
import { Estimate, estimateOf } from "./estimate.js";
import { Data, Essentials, Further } from "./fields.js";
import { bodyOf, fieldOf } from "./form.js";
import { useLoad } from "./live.js";
import { announce, Loaded, Wrong } from "./says.js";

/** A name for the request that is sent: the same one until something in it changes. */
function useOnce() {
  const known = useRef({ text: "", once: "" });
  return (body) => {
    const text = JSON.stringify(body);
    if (known.current.text !== text) known.current = { text, once: freshName() };
    return known.current.once;
  };
}

/** Where the service says what is wrong, the focus goes. */
function usePointing(form, problem) {
  useEffect(() => {
    if (!problem?.param) return;
    const field = fieldOf(form.current, problem.param);
    const details = field?.closest("details");
    if (details) details.open = true;
    field?.focus();
  }, [problem]);
}

function Form({ known, from, reload }) {
  const form = useRef(null);
  const stop = useRef(null);
  const once = useOnce();
  const [problem, setProblem] = useState(null);
  const [estimate, setEstimate] = useState(null);
  const [busy, setBusy] = useState("");
  usePointing(form, problem);
  useEffect(() => () => stop.current?.abort(), []);
  const wrong = (name) => {
    if (!problem?.param || !form.current) return null;
    const fields = problem.errors?.length ? problem.errors : [{ param: problem.param, detail: problem.message }];
    return fields.find(({ param }) => fieldOf(form.current, param)?.name === name)?.detail ?? null;
  };
  const attempt = async (what, call) => {
    if (busy || !form.current.reportValidity()) return;
    setBusy(what);
    setProblem(null);
    await call(bodyOf(form.current)).catch((found) => found.name === "AbortError" || setProblem(found));
    setBusy("");
  };
  const price = () =>
    attempt("estimate", async (body) => {
      stop.current = new AbortController();
      setEstimate({ state: "queued" });
      try {
        const job = await estimateOf(body, setEstimate, stop.current.signal);
        setEstimate(job);
        if (job.trouble) setProblem(troubleOf(job.trouble));
      } catch (found) {
        setEstimate(null);
        throw found;
      }
    });
  const start = (event) => {
    event.preventDefault();
    attempt("start", async (body) => {
      const job = await submit("searches", body, once(body));
      announce("The search is submitted.");
      location.hash = `#/searches/${encodeURIComponent(job.id)}`;
    });
  };
  return html`<form ref=${form} onSubmit=${start} class="split" aria-label="New search">
    <div>
      <${Essentials} known=${known} from=${from} wrong=${wrong} />
      <${Data} known=${known} from=${from} wrong=${wrong} reload=${reload} />
      <${Further} known=${known} from=${from} wrong=${wrong} />
    </div>
    <aside class="card price" aria-labelledby="price-head">
      <h2 id="price-head">What it would cost</h2>
      <div aria-live="polite" id="estimate"><${Estimate} job=${estimate} /></div>
      <${Wrong} problem=${problem} />
      <div class="buttons">
        <button type="button" aria-disabled=${busy ? "true" : "false"} onClick=${price}>Estimate</button>
        <button type="submit" class="primary" aria-disabled=${busy ? "true" : "false"}>Start the search</button>
      </div>
      ${busy === "start" && html`<p role="status">Submitting …</p>`}
    </aside>
  </form>`;
}

/** The trouble of a job that failed, in the form of a problem: its sentence stands in the estimate. */
const troubleOf = ({ detail, param, code }) => ({ message: detail, param, code });

export function Submit({ from }) {
  const known = useLoad(async () => {
    const [found, search] = await Promise.all([catalog(), from ? ask(`searches/${encodeURIComponent(from)}`) : null]);
    return { ...found, request: search?.request ?? null };
  }, [from]);
  useEffect(() => {
    document.title = "New search · autopeft";
  }, []);
  return html`<h1 tabindex="-1">New search</h1>
    <${Loaded} of=${known} what="what there is to choose from">${(found) => html`
      <${Form} known=${found} from=${found.request ?? {}} reload=${known.reload} />`}<//>`;
}
