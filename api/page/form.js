/* Fields of a form that are named as the request names them, such as `limits.trials`. */

import { html } from "./vendor/preact-htm.js";

const idOf = (name) => `field-${name.replaceAll(".", "-")}`;

/** A labelled field with a hint and, where the service refused it, why.
 *
 * `value` is what it begins with: what somebody has typed stays, whatever is drawn anew. */
export function Field({ name, label, hint, wrong, value, children, ...more }) {
  const id = idOf(name);
  const described = [hint && `${id}-hint`, wrong && `${id}-wrong`].filter(Boolean).join(" ") || null;
  const own = { id, name, "aria-describedby": described, "aria-invalid": wrong ? "true" : null };
  return html`<div class=${`field ${wrong ? "is-wrong" : ""}`}>
    <label for=${id}>${label}</label>
    ${children ? children(own) : html`<input ...${own} autocomplete="off" spellcheck=${false} defaultValue=${value} ...${more} />`}
    ${hint && html`<p class="hint" id=${`${id}-hint`}>${hint}</p>`}
    ${wrong && html`<p class="wrong" id=${`${id}-wrong`}>${wrong}</p>`}
  </div>`;
}

/** A choice of a few values; the empty one leaves it to the service. */
export function Choice({ values, usual, empty, ...field }) {
  const option = (value, text = value) => html`<option key=${value} value=${value} selected=${value === (usual ?? "")}>${text}</option>`;
  return html`<${Field} ...${field}>${(own) => html`<select ...${own}>
    ${empty != null && option("", empty)}${values.map((value) => (Array.isArray(value) ? option(...value) : option(value)))}
  </select>`}<//>`;
}

/** Read the fields that are filled in, as the request that their names spell. */
export function bodyOf(form) {
  const body = {};
  for (const element of form.elements) {
    const { name, value, type } = element;
    if (!name || element.disabled || element.dataset.apart || !value.trim()) continue;
    if ((type === "checkbox" || type === "radio") && !element.checked) continue;
    put(body, name.split("."), read(element));
  }
  return body;
}

function read({ value, type, dataset }) {
  const text = value.trim();
  if (dataset.read === "minutes") return 60 * Number(text);
  if (dataset.read === "numbers") return text.split(/[\s,]+/).filter(Boolean).map(Number);
  if (dataset.read === "pairs") return pairsOf(text);
  if (type === "checkbox" || dataset.read === "list") return [text];
  return type === "number" ? Number(text) : text;
}

/** Read `name=value`, a line each. */
export function pairsOf(text) {
  const lines = text.split("\n").filter((line) => line.trim());
  return Object.fromEntries(
    lines.map((line) => {
      const [name, ...rest] = line.split("=");
      return [name.trim(), rest.join("=").trim()];
    }),
  );
}

function put(body, [name, ...rest], value) {
  if (rest.length) return put((body[name] ??= {}), rest, value);
  body[name] = Array.isArray(body[name]) ? [...body[name], ...value] : value;
  return body;
}

/** The field that a problem is about: the one of its `param`, or of the part that holds it. */
export function fieldOf(form, param) {
  const parts = (param ?? "").replace(/^body\./, "").split(/[.[\]]+/).filter(Boolean);
  for (let length = parts.length; length > 0; length -= 1) {
    const found = form.querySelector(`[name="${CSS.escape(parts.slice(0, length).join("."))}"]`);
    if (found) return found;
  }
  return null;
}
