/* Data sets that were uploaded. */

import { html, useEffect, useState } from "./vendor/preact-htm.js";
import { all, ask } from "./api.js";
import { Dialog } from "./dialog.js";
import * as write from "./format.js";
import { useEvery, useLoad } from "./live.js";
import { announce, Loaded, Wrong } from "./says.js";
import { foundIn, Upload } from "./upload.js";

const STATES = { validating: "being looked into", ready: "ready", invalid: "cannot be used" };

function Row({ dataset, remove }) {
  return html`<tr>
    <th scope="row">${dataset.name}<span class="under"><code>${dataset.id}</code></span></th>
    <td><span class=${`badge data-${dataset.state}`}>${STATES[dataset.state]}</span></td>
    <td>${dataset.trouble?.detail ?? (foundIn(dataset) || "–")}</td>
    <td class="number wide">${write.bytes(dataset.bytes)}</td>
    <td class="wide"><time datetime=${dataset.created}>${write.date(dataset.created)}</time></td>
    <td><button type="button" class="small" onClick=${() => remove(dataset)}>Delete<span class="unseen"> ${dataset.name}</span></button></td>
  </tr>`;
}

function Table({ datasets, remove }) {
  if (!datasets.length) return html`<p class="empty">There are no data sets yet: upload the first one.</p>`;
  return html`<div class="scroll" role="group" aria-label="Data sets" tabindex="0"><table>
    <caption class="unseen">Data sets, the newest first</caption>
    <thead><tr><th scope="col">Data set</th><th scope="col">State</th><th scope="col">What is in it</th>
      <th scope="col" class="number wide">Size</th><th scope="col" class="wide">Uploaded</th><th scope="col">Remove</th></tr></thead>
    <tbody>${datasets.map((dataset) => html`<${Row} key=${dataset.id} dataset=${dataset} remove=${remove} />`)}</tbody>
  </table></div>`;
}

export function Datasets() {
  const list = useLoad(() => all("datasets"), []);
  const [doomed, setDoomed] = useState(null);
  const [problem, setProblem] = useState(null);
  useEvery(1500, list.value?.some(({ state }) => state === "validating") ?? false, list.reload);
  useEffect(() => {
    document.title = "Data sets · autopeft";
  }, []);
  const remove = async () => {
    setProblem(null);
    setDoomed(null);
    await ask(`datasets/${encodeURIComponent(doomed.id)}`, { method: "DELETE" }).then(() => announce(`${doomed.name} is deleted.`), setProblem);
    await list.reload();
  };
  const close = () => setDoomed(null);
  return html`<h1 tabindex="-1">Data sets</h1>
    <section class="card" aria-labelledby="upload-head"><h2 id="upload-head">Upload</h2><${Upload} done=${list.reload} /></section>
    <section class="card" aria-labelledby="data-head"><h2 id="data-head">Uploaded</h2>
      <${Wrong} problem=${problem} />
      <${Loaded} of=${list} what="the data sets">${(datasets) => html`<${Table} datasets=${datasets} remove=${setDoomed} />`}<//>
    </section>
    <${Dialog} open=${doomed != null} close=${close} title="Delete the data set?">
      <p>${doomed?.name} is removed from the service. Searches that have used it keep their answers.</p>
      <div class="buttons"><button type="button" class="danger" onClick=${remove}>Delete it</button>
        <button type="button" onClick=${close}>Keep it</button></div><//>`;
}
