/** What a page says of itself: its state, what is wrong, and a word on what was just done. */

import { byId } from "./view.js";

/** The state beside the name: a kind, for its colour, and its text; more: what a pointer over it tells. */
export function say(kind, text, more = "") {
  byId("state").dataset.kind = kind;
  byId("state").title = more;
  if (byId("state-text").textContent !== text) byId("state-text").textContent = text;
}

/** Something went wrong, see problems.js. */
export function complain({ title, text }) {
  byId("problem-title").textContent = title;
  byId("problem-text").textContent = text;
  byId("problem").hidden = false;
}

export function note(text) {
  byId("note").textContent = text;
}

/** Whether there are captions that can be copied, saved and cleared. */
export function offerActions(any) {
  for (const id of ["copy", "save-txt", "save-srt", "save-vtt", "clear"]) byId(id).disabled = !any;
}
