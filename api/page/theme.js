/* Light, dark, or as the system has it. */

import { html, useState } from "./vendor/preact-htm.js";

const NAME = "autopeft.theme";
const THEMES = [
  ["auto", "As the system"],
  ["light", "Light"],
  ["dark", "Dark"],
];

function show(theme) {
  document.documentElement.dataset.theme = theme;
}

show(localStorage.getItem(NAME) ?? "auto");

export function ThemeSwitch() {
  const [theme, setTheme] = useState(document.documentElement.dataset.theme);
  const choose = (event) => {
    localStorage.setItem(NAME, event.target.value);
    show(event.target.value);
    setTheme(event.target.value);
  };
  return html`<label class="inline"><span>Colours</span>
    <select onChange=${choose}>
      ${THEMES.map(([value, text]) => html`<option key=${value} value=${value} selected=${value === theme}>${text}</option>`)}
    </select></label>`;
}
