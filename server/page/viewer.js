/** The page of a viewer, ?watch=CHANNEL: what others say, without a microphone. */

import { Take } from "./captions.js";
import * as choices from "./choices.js";
import { explain } from "./problems.js";
import { copy, saveAs } from "./saving.js";
import * as settings from "./settings.js";
import { complain, note, offerActions, say } from "./status.js";
import { byId, View } from "./view.js";
import { Watching } from "./watch.js";

const channel = new URLSearchParams(location.search).get("watch");
const chosen = settings.load();
const view = new View();
let token = settings.loadToken();
/** What each stream says; the last one may go on. */
let takes = [new Take(0)];

export function begin() {
  document.title = `${channel}: live captions`;
  choices.offerSettings(chosen, choices.paint);
  choices.offerHelp();
  byId("problem-close").addEventListener("click", () => (byId("problem").hidden = true));
  byId("copy").addEventListener("click", () => copy(finals()).then(() => note("Copied.")));
  byId("clear").addEventListener("click", clear);
  for (const kind of ["txt", "srt", "vtt"]) byId(`save-${kind}`).addEventListener("click", () => save(kind));
  byId("empty").firstElementChild.textContent = `What is said in “${channel}” will be here.`;
  draw();
  if (!/^[A-Za-z0-9_-]{1,64}$/.test(channel)) {
    say("idle", "No such channel");
    return complain({ title: "This is no channel", text: `“${channel}”: a channel's name has letters, digits, - and _ only. Correct the address.` });
  }
  say("busy", "Connecting…");
  watch();
}

async function watch() {
  try {
    for await (const message of new Watching(location.origin, channel, { token })) show(message);
  } catch (error) {
    if (error.code === "unauthorized" && (token = (await choices.askToken(token !== null)) ?? token)) return watch();
    say("idle", "Stopped");
    complain(explain(error));
  }
}

function show(message) {
  if (message.type === "waiting") return say("lost", "Reconnecting");
  if (message.type === "watching") return begins(message);
  const take = takes.at(-1);
  const final = take.show(message);
  view.grow(take.open);
  if (final) {
    view.add(final);
    draw();
  }
  byId("empty").hidden ||= take.open !== null;
}

function begins({ live, language }) {
  say(live ? "live" : "idle", live ? "Live" : "Nobody is speaking");
  view.grow(null);
  takes.push(new Take(0));
  takes.at(-1).casing = settings.casing(chosen, language);
}

const finals = () => takes.flatMap((take) => take.finals);

function save(kind) {
  const all = finals();
  note(`Saved as ${saveAs(kind, all, all.at(-1)?.end ?? 0)}.`);
}

function clear() {
  for (const take of takes) take.finals = [];
  view.clear();
  note("Cleared.");
  draw();
}

function draw() {
  const any = finals().length > 0;
  byId("empty").hidden = any;
  offerActions(any);
}
