/** The dialogs: settings, help, the token; and the choice of a microphone. */

import { listMicrophones } from "./microphone.js";
import * as settings from "./settings.js";
import { byId } from "./view.js";

/** Fills in the settings, and calls `changed` with them whenever they change. */
export function offerSettings(chosen, changed) {
  const form = byId("settings").querySelector("form");
  const fields = [...form.querySelectorAll("[name]")];
  for (const field of fields) field.value = chosen[field.name];
  form.addEventListener("input", ({ target }) => {
    chosen[target.name] = target.value;
    keep();
  });
  const keep = () => {
    settings.save(chosen);
    changed(chosen);
  };
  byId("theme-switch").addEventListener("click", () => {
    chosen.theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    form.elements.theme.value = chosen.theme;
    keep();
  });
  opens("open-settings", "settings");
  changed(chosen);
}

/** Shows how the page looks with these settings. */
export function paint({ theme, size }) {
  const root = document.documentElement;
  root.dataset.size = size;
  root.dispatchEvent(new CustomEvent("theme", { detail: theme }));
}

/** Fills in the addresses of this server, and opens at its button. */
export function offerHelp() {
  byId("client-url").textContent = `${location.origin}/page/client.js`;
  byId("overlay-link").textContent = `${location.origin}/?overlay=1`;
  opens("open-help", "help");
}

function opens(button, dialog) {
  byId(button).addEventListener("click", () => byId(dialog).showModal());
  byId(dialog).addEventListener("click", ({ target }) => target === byId(dialog) && byId(dialog).close());
}

/** Asks for the token. Returns it, or null. wrong: one was given, and the server does not know it */
export function askToken(wrong) {
  const dialog = byId("token");
  const form = dialog.querySelector("form");
  byId("token-title").textContent = wrong ? "The server does not know this token" : "This server wants a token";
  form.reset();
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.onclose = () => {
      const token = form.elements.token.value.trim();
      if (dialog.returnValue !== "use" || !token) return resolve(null);
      settings.saveToken(token, form.elements.remember.checked);
      resolve(token);
    };
  });
}

/** Whether captions that are not saved may be thrown away. */
export function askToClear() {
  const dialog = byId("sure");
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => (dialog.onclose = () => resolve(dialog.returnValue === "clear")));
}

/** Lists the microphones in the choice, of which `id` is chosen if it is there. */
export async function offerMicrophones(id) {
  const select = byId("device");
  const known = (await listMicrophones()).filter(({ label }) => label);
  const options = known.map(({ id: value, label }) => new Option(label, value));
  if (!known.some(({ id }) => id === "default")) options.unshift(new Option("Default microphone", ""));
  select.replaceChildren(...options);
  select.value = known.some((each) => each.id === id) ? id : options[0].value;
}

/** The id of the chosen microphone, null: whichever the browser takes. */
export const chosenMicrophone = () => byId("device").value || null;
