/* What the service offers to choose from: models, spaces, strategies, data sets. */

import { all, ask } from "./api.js";

const nameOf = (item) => (typeof item === "string" ? item : (item.name ?? item.id));

async function listOf(path) {
  const found = await ask(path);
  const items = Array.isArray(found) ? found : (found.data ?? []);
  return items.map((item) => ({ name: nameOf(item), summary: item.summary ?? "" }));
}

/** Load everything that the form lets choose from. */
export async function catalog() {
  const lists = ["models", "spaces", "strategies"].map(listOf);
  const [models, spaces, strategies, datasets] = await Promise.all([...lists, all("datasets")]);
  return { models, spaces, strategies, datasets };
}
