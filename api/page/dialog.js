/* A dialogue of the browser's own: it keeps the focus inside, and Escape closes it. */

import { html, useEffect, useRef } from "./vendor/preact-htm.js";

let made = 0;

export function Dialog({ open, close, title, children }) {
  const ref = useRef(null);
  const id = useRef(`dialog-${(made += 1)}`).current;
  useEffect(() => {
    if (open && !ref.current.open) ref.current.showModal();
    if (!open && ref.current.open) ref.current.close();
  }, [open]);
  return html`<dialog ref=${ref} onClose=${close} aria-labelledby=${id}>
    <h2 id=${id}>${title}</h2>
    ${open && children}
  </dialog>`;
}
