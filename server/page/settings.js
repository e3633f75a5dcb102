/** What a person has chosen, remembered by the browser for this server's pages. Never what was said. */

import { AS_IT_IS, Casing } from "./case.js";

const KEY = "earshot";
const TOKEN_KEY = "earshot.token";

const DEFAULTS = {
  language: "",
  commit: "auto",
  stability: "medium",
  hotwords: "",
  publish: "",
  letters: "sentence",
  theme: "system",
  size: "medium",
  device: "",
};

/** All settings, as texts. */
export function load() {
  const known = {};
  try {
    Object.assign(known, JSON.parse(localStorage.getItem(KEY) ?? "{}"));
  } catch {
    // the browser keeps nothing for this page
  }
  const entries = Object.entries(DEFAULTS).map(([name, value]) => [name, typeof known[name] === "string" ? known[name] : value]);
  return Object.fromEntries(entries);
}

export function save(settings) {
  try {
    localStorage.setItem(KEY, JSON.stringify(settings));
  } catch {
    // it will be asked for again
  }
}

/** The token: from the address (#token=...), which is then taken out of it, or as it was given before. */
export function loadToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    saveToken(given, false);
    history.replaceState(null, "", location.pathname + location.search);
    return given;
  }
  try {
    return sessionStorage.getItem(TOKEN_KEY) ?? localStorage.getItem(TOKEN_KEY);
  } catch {
    return null;
  }
}

/** remember: also when the browser is closed */
export function saveToken(token, remember) {
  try {
    sessionStorage.setItem(TOKEN_KEY, token);
    if (remember) localStorage.setItem(TOKEN_KEY, token);
    else localStorage.removeItem(TOKEN_KEY);
  } catch {
    // it will be asked for again
  }
}

/** Words to listen for, one a line: WORD or WORD=WEIGHT. */
export function hotwords(text) {
  const lines = text.split("\n").map((line) => line.trim());
  return lines.filter(Boolean).map((line) => {
    const [, word, weight] = /^(.*?)(?:\s*=\s*([\d.]+))?$/.exec(line);
    return weight === undefined ? word : { text: word, weight: Number(weight) };
  });
}

/** What gives the text of a stream its case, in the language that the server says. */
export function casing(settings, language) {
  const names = hotwords(settings.hotwords).map((word) => word.text ?? word);
  return settings.letters === "sentence" ? new Casing(language, names) : AS_IT_IS;
}

/** Options of a stream. live: somebody speaks, it is no file. */
export function streamOptions(settings, { live, token }) {
  const commit = settings.commit === "auto" ? (live ? "hop" : "utterance") : settings.commit;
  const words = hotwords(settings.hotwords);
  return {
    token,
    commit,
    stability: settings.stability,
    ...(settings.language.trim() && { language: settings.language.trim() }),
    ...(words.length && { hotwords: words }),
    ...(live && settings.publish.trim() && { publish: settings.publish.trim() }),
  };
}
