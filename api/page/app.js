/* The page as a whole: which part of it is shown, and what is around it. */

import { html, render, useEffect, useRef, useState } from "./vendor/preact-htm.js";
import { key, whenRefused } from "./api.js";
import { Compare } from "./compare.js";
import { Datasets } from "./datasets.js";
import { Dialog } from "./dialog.js";
import { Job } from "./job.js";
import { Jobs } from "./jobs.js";
import { useConnection } from "./live.js";
import { Announcer } from "./says.js";
import { Submit } from "./submit.js";
import { ThemeSwitch } from "./theme.js";

const NAV = [
  ["#/", "Searches", "jobs"],
  ["#/submit", "New search", "submit"],
  ["#/compare", "Compare", "compare"],
  ["#/datasets", "Data sets", "datasets"],
];

/** Read which page an address names. */
export function routeOf(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?");
  const [page, ...ids] = path.split("/").map(decodeURIComponent);
  const asked = new URLSearchParams(query);
  if (page === "searches" && ids[0]) return { page: "job", id: ids[0] };
  if (page === "submit") return { page, from: asked.get("from") };
  if (page === "compare") return { page, first: ids[0] ?? "", second: ids[1] ?? "" };
  if (page === "datasets") return { page };
  return { page: page ? "nowhere" : "jobs" };
}

/** The page that is asked for; a jump inside of it, such as the skip link's, is none. */
function useRoute() {
  const [hash, setHash] = useState(location.hash);
  useEffect(() => {
    const changed = () => (location.hash === "" || location.hash.startsWith("#/")) && setHash(location.hash);
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return hash;
}

function Page({ route }) {
  switch (route.page) {
    case "jobs":
      return html`<${Jobs} />`;
    case "job":
      return html`<${Job} key=${route.id} id=${route.id} />`;
    case "submit":
      return html`<${Submit} key=${route.from} from=${route.from} />`;
    case "compare":
      return html`<${Compare} first=${route.first} second=${route.second} />`;
    case "datasets":
      return html`<${Datasets} />`;
    default:
      return html`<h1 tabindex="-1">There is no such page</h1>
        <p><a href="#/">All searches</a></p>`;
  }
}

function Connection() {
  const { up, regained } = useConnection();
  const text = up
    ? regained && "Connected again."
    : "The connection to the service is lost. What you see may be old; the page tries again by itself.";
  const [shown, setShown] = useState("");
  useEffect(() => {
    setShown(text || "");
    if (!up || !text) return undefined;
    const timer = setTimeout(() => setShown(""), 4000);
    return () => clearTimeout(timer);
  }, [up, regained]);
  return html`<div role="status" class=${`connection ${up ? "up" : "down"}`}>${shown}</div>`;
}

function KeyDialog({ open, close, why, changed }) {
  const [text, setText] = useState(key.get());
  const keep = (event) => {
    event.preventDefault();
    key.set(text.trim());
    changed();
  };
  return html`<${Dialog} open=${open} close=${close} title="API key">
    <form onSubmit=${keep}>
      ${why && html`<p class="problem">${why}</p>`}
      <p class="hint" id="key-hint">
        Somebody who runs the service makes one with <code>autopeft keys create</code>. It stays in
        this tab until you close it.
      </p>
      <label for="key">Key</label>
      <input id="key" type="password" autocomplete="off" spellcheck=${false} value=${text}
        aria-describedby="key-hint" onInput=${(event) => setText(event.target.value)} />
      <div class="buttons">
        <button type="submit" class="primary">Use this key</button>
        <button type="button" onClick=${close}>Close</button>
      </div>
    </form>
  <//>`;
}

function Header({ page, askKey }) {
  return html`<header class="top">
    <a class="brand" href="#/"><img src="icon.svg" alt="" width="24" height="24" />autopeft</a>
    <nav aria-label="Main">
      <ul>
        ${NAV.map(([to, text, name]) => {
          const here = page === name || (page === "job" && name === "jobs");
          return html`<li key=${to}><a href=${to} aria-current=${here ? "page" : null}>${text}</a></li>`;
        })}
      </ul>
    </nav>
    <div class="tools">
      <${ThemeSwitch} />
      <button type="button" onClick=${askKey}>API key</button>
    </div>
  </header>`;
}

function App() {
  const hash = useRoute();
  const route = routeOf(hash);
  const main = useRef(null);
  const first = useRef(true);
  const [asking, setAsking] = useState({ open: false, why: "", version: 0 });
  useEffect(() => whenRefused((why) => setAsking((a) => ({ ...a, open: true, why }))), []);
  useEffect(() => {
    if (!first.current) main.current.querySelector("h1")?.focus();
    first.current = false;
    scrollTo(0, 0);
  }, [hash]);
  const skip = (event) => {
    event.preventDefault();
    main.current.focus();
  };
  const close = () => setAsking((a) => ({ ...a, open: false, why: "" }));
  const changed = () => setAsking((a) => ({ open: false, why: "", version: a.version + 1 }));
  return html`<a class="skip" href="#main" onClick=${skip}>Skip to the content</a>
    <${Header} page=${route.page} askKey=${() => setAsking((a) => ({ ...a, open: true }))} />
    <${Connection} />
    <main id="main" tabindex="-1" ref=${main}><${Page} key=${asking.version} route=${route} /></main>
    <footer class="foot"><p>autopeft · <a href="docs">API</a> · works without the internet</p></footer>
    <${KeyDialog} key=${`k${asking.version}`} ...${asking} close=${close} changed=${changed} />
    <${Announcer} />`;
}

const root = document.getElementById("app");
root.replaceChildren();
render(html`<${App} />`, root);
