/* Sends a data set: a file, how far it is, and what came of it. */

import { html, useState } from "./vendor/preact-htm.js";
import { ask, upload } from "./api.js";
import * as write from "./format.js";
import { announce, Wrong } from "./says.js";

const FORMATS = ".csv,.tsv,.jsonl,.json,.parquet,.zip,.tar,.gz,.tgz";
const POLL = 500;

/** Wait until the service has looked into a data set. */
export async function checked(id) {
  for (;;) {
    const found = await ask(`datasets/${encodeURIComponent(id)}`);
    if (found.state !== "validating") return found;
    await new Promise((resolve) => setTimeout(resolve, POLL));
  }
}

function Told({ sent, dataset }) {
  if (sent != null && !dataset)
    return html`<div class="bar"><label for="upload-bar">Sending: ${write.percent(sent)}</label>
      <progress id="upload-bar" max="1" value=${sent}></progress></div>`;
  if (!dataset) return null;
  if (dataset.state === "validating") return html`<p role="status">The service looks into ${dataset.name} …</p>`;
  if (dataset.state === "invalid")
    return html`<div class="problem" role="alert"><p><strong>${dataset.name} cannot be used.</strong> ${dataset.trouble?.detail}</p></div>`;
  return html`<p class="good" role="status">${dataset.name} is ready. ${foundIn(dataset)}</p>`;
}

/** What is in a data set, in a few words. */
export function foundIn({ found }) {
  if (!found) return "";
  const rows = found.rows ?? found.examples;
  const count = Array.isArray(rows) ? rows.reduce((sum, n) => sum + n, 0) : rows;
  const columns = Array.isArray(found.columns) ? found.columns.join(", ") : "";
  return [
    Number.isFinite(count) && `${write.count(count)} rows`,
    columns && `columns ${columns}`,
    typeof found.task === "string" && found.task,
    Array.isArray(found.labels) && found.labels.length && `labels ${found.labels.slice(0, 8).join(", ")}${found.labels.length > 8 ? " …" : ""}`,
  ].filter(Boolean).join("; ");
}

export function Upload({ done }) {
  const [file, setFile] = useState(null);
  const [sent, setSent] = useState(null);
  const [dataset, setDataset] = useState(null);
  const [problem, setProblem] = useState(null);
  const send = async () => {
    setProblem(null);
    setDataset(null);
    setSent(0);
    try {
      const form = new FormData();
      form.append("file", file);
      const begun = await upload("datasets", form, setSent);
      setDataset(begun);
      done(begun);
      const found = await checked(begun.id);
      setDataset(found);
      done(found);
    } catch (found) {
      setProblem(found);
    }
    setSent(null);
  };
  const busy = sent != null;
  const press = () => (file ? busy || send() : announce("Choose a file first."));
  return html`<div class="upload">
    <label for="upload-file">A file with labelled data</label>
    <input id="upload-file" type="file" accept=${FORMATS} aria-describedby="upload-hint" onChange=${(event) => setFile(event.target.files[0] ?? null)} />
    <p class="hint" id="upload-hint">CSV, TSV, JSON lines or Parquet; or an archive with a folder of images a class.</p>
    <button type="button" aria-disabled=${!file || busy ? "true" : "false"} onClick=${press}>Upload</button>
    <${Told} sent=${sent} dataset=${dataset} />
    <${Wrong} problem=${problem} />
  </div>`;
}
