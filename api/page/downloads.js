/* What a search has made, fetched with the key and saved by the browser. */

import { html, useState } from "./vendor/preact-htm.js";
import { ask, save } from "./api.js";
import * as write from "./format.js";
import { useLoad } from "./live.js";
import { announce, Loaded, Wrong } from "./says.js";

const OWN = new Set(["plan.json", "report.html", "report.md"]);

function filesOf(search, artifacts) {
  const path = `searches/${encodeURIComponent(search.id)}`;
  const files = artifacts
    .filter(({ name }) => !OWN.has(name))
    .map(({ name, bytes, media_type: type }) => ({
      name,
      text: `${type}, ${write.bytes(bytes)}`,
      path: `${path}/artifacts/${encodeURIComponent(name)}`,
    }));
  if (!search.plan) return files;
  return [
    { name: "plan.json", text: "the plan: train it with autopeft train", path: `${path}/plan` },
    { name: "report.html", text: "the report: everything on one page", path: `${path}/report?format=html` },
    { name: "report.md", text: "the same as Markdown", path: `${path}/report` },
    ...files,
  ];
}

export function Downloads({ search }) {
  const path = `searches/${encodeURIComponent(search.id)}/artifacts`;
  const artifacts = useLoad(() => ask(path).then((page) => page.data), [search.id], [search.state, search.plan]);
  const [problem, setProblem] = useState(null);
  const fetchIt = async (file) => {
    setProblem(null);
    await save(file.path, `${search.id}-${file.name}`).then(() => announce(`${file.name} is saved.`), setProblem);
  };
  return html`<${Loaded} of=${artifacts} what="the files">${(known) => {
    const files = filesOf(search, known);
    return html`<${Wrong} problem=${problem} />
      ${files.length
        ? html`<ul class="files">${files.map((file) => html`<li key=${file.name}>
            <button type="button" onClick=${() => fetchIt(file)}>Download ${file.name}</button> <span class="hint">${file.text}</span></li>`)}</ul>`
        : html`<p class="empty">The plan and the report are here when the search is done.</p>`}`;
  }}<//>`;
}
