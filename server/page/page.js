/** The page: one button that starts and pauses, a file that is dropped, and what is done with the captions. */

import { Take } from "./captions.js";
import * as choices from "./choices.js";
import { FileAudio } from "./file.js";
import { Listening } from "./listening.js";
import { Microphone } from "./microphone.js";
import { explain, sentence } from "./problems.js";
import { copy, saveAs } from "./saving.js";
import { Session } from "./session.js";
import * as settings from "./settings.js";
import { complain, note, offerActions, say } from "./status.js";
import { byId, View } from "./view.js";

const chosen = settings.load();
let token = null;
let view;
/** What is said over one stream after the other. */
let takes = [];
/** Seconds that were heard before the open take. */
let heard = 0;
/** The take that is open, { session, take, listening, live, ending }; null: none is. */
let now = null;
let unsaved = false;
let screenLock = null;

export function begin() {
  token = settings.loadToken();
  view = new View();
  choices.offerSettings(chosen, choices.paint);
  choices.offerHelp();
  choices.offerMicrophones(chosen.device);
  navigator.mediaDevices?.addEventListener("devicechange", () => choices.offerMicrophones(chosen.device));
  byId("device").addEventListener("change", changeDevice);
  byId("go").addEventListener("click", go);
  byId("problem-close").addEventListener("click", () => (byId("problem").hidden = true));
  byId("copy").addEventListener("click", () => copy(finals()).then(() => note("Copied.")));
  byId("clear").addEventListener("click", clear);
  for (const kind of ["txt", "srt", "vtt"]) byId(`save-${kind}`).addEventListener("click", () => save(kind));
  takeFiles();
  window.addEventListener("beforeunload", (event) => unsaved && event.preventDefault());
  byId("go").disabled = byId("choose-file").disabled = false;
  draw();
}

// ---- start and pause

function go() {
  if (now === null) listen();
  else if (now.ending || !now.live) now.session.close();
  else pause();
}

function listen() {
  const device = choices.chosenMicrophone();
  const microphone = new Microphone({ device: device === "default" ? null : device, report: reportMicrophone });
  return run(microphone, true);
}

function pause() {
  now.ending = true;
  now.session.stop();
  say("busy", "Finishing…");
  draw();
}

/** Streams a source until it ends or is paused; says what goes wrong. */
async function run(source, live) {
  byId("problem").hidden = true;
  const options = { ...settings.streamOptions(chosen, { live, token }) };
  const take = new Take(heard);
  takes.push(take);
  const listening = new Listening(source, heard, live);
  const session = new Session(source, location.origin, options);
  now = { session, take, listening, live, ending: false };
  say("busy", live ? "Waiting for the microphone…" : "Reading the file…");
  draw();
  let problem = null;
  try {
    await session.run({ hear, begin: speak, show });
  } catch (error) {
    problem = error;
  }
  ended(problem);
  if (problem?.code === "unauthorized") await retryWithToken(source, live);
}

function ended(problem) {
  const { take, listening, live } = now;
  const unfinished = take.abandon();
  if (unfinished) view.add(unfinished);
  view.grow(null);
  heard = Math.max(0, take.offset + listening.heard);
  listening.end();
  now = null;
  say("idle", problem ? "Stopped" : live ? "Paused" : "Done");
  if (problem && problem.code !== "unauthorized" && problem.code !== "closed") complain(explain(problem));
  lockScreen(false);
  draw();
}

async function retryWithToken(source, live) {
  const given = await choices.askToken(token !== null);
  if (given === null) return;
  token = given;
  if (live) listen();
  else run(source, false);
}

// ---- what is heard and said

function hear(pcm) {
  if (now.listening.heard === 0) {
    say(now.live ? "live" : "busy", now.live ? listening() : "Transcribing");
    if (now.live) {
      choices.offerMicrophones(chosen.device);
      lockScreen(true);
    }
  }
  now.listening.hear(pcm);
}

function speak({ language }) {
  now.take.casing = settings.casing(chosen, language);
}

function show(message) {
  now.listening.show(message);
  showConnection(message);
  const final = now.take.show(message);
  view.grow(now.take.open);
  if (final) {
    unsaved = true;
    view.add(final);
    draw();
  }
  byId("empty").hidden ||= now.take.open !== null;
}

/** Who lets others read along is to see that. */
function listening() {
  const channel = chosen.publish.trim();
  return channel ? `Listening; public in “${channel}”` : "Listening";
}

function showConnection({ type, kept, reason }) {
  if (type === "waiting" || type === "reconnecting") {
    say("lost", type === "waiting" ? "Waiting for the server" : "Reconnecting", reason);
    note(`${sentence(reason)} ${kept.toFixed(0)} s of speech are kept meanwhile.`);
  } else if (type === "connected" || type === "resumed") {
    note(type === "resumed" ? "Connected again; nothing is lost." : "");
    if (now.ending) say("busy", "Finishing…");
    else say(now.live ? "live" : "busy", now.live ? listening() : "Transcribing");
  }
}

function reportMicrophone(what) {
  if (what === "away") say("lost", "The microphone is unplugged; waiting for it");
  if (what === "asleep") say("lost", "Click anywhere: the browser wants it before it listens");
  if (what === "back" || what === "awake") say("live", listening());
}

/** Another microphone was chosen: it takes over. */
async function changeDevice() {
  chosen.device = byId("device").value;
  settings.save(chosen);
  if (!now?.live || now.ending) return;
  const { session } = now;
  pause();
  const wait = setInterval(() => {
    if (now?.session === session) return;
    clearInterval(wait);
    if (now === null) listen();
  }, 50);
}

// ---- files

function takeFiles() {
  byId("choose-file").addEventListener("click", () => byId("file").click());
  byId("file").addEventListener("change", ({ target }) => {
    play(target.files[0]);
    target.value = "";
  });
  const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");
  window.addEventListener("dragover", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    byId("drop").hidden = false;
  });
  window.addEventListener("dragleave", (event) => event.relatedTarget === null && (byId("drop").hidden = true));
  window.addEventListener("drop", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    byId("drop").hidden = true;
    play(event.dataTransfer.files[0]);
  });
}

function play(file) {
  if (!file) return;
  if (now !== null) return note("Pause first; then drop the file.");
  run(new FileAudio(file), false);
}

// ---- what is done with the captions

const finals = () => takes.flatMap((take) => take.finals);
const duration = () => (now ? now.take.offset + now.listening.heard : heard);

function save(kind) {
  const name = saveAs(kind, finals(), duration());
  unsaved = false;
  note(`Saved as ${name}.`);
}

/** Begins anew: times count from here. What is not saved is asked about. */
async function clear() {
  if (unsaved && !(await choices.askToClear())) return;
  view.clear();
  takes = [];
  heard = 0;
  unsaved = false;
  if (now) {
    takes = [now.take];
    now.take.finals = [];
    now.take.offset = -now.listening.heard;
  }
  byId("elapsed").textContent = "0:00";
  note("Cleared.");
  draw();
}

// ---- what the page says of itself

function draw() {
  const does = now === null ? "start" : now.ending || !now.live ? "cancel" : "pause";
  const any = finals().length > 0;
  const words = { start: any || heard ? "Continue" : "Start", pause: "Pause", cancel: "Cancel" };
  byId("go").dataset.does = does;
  byId("go-text").textContent = words[does];
  byId("empty").hidden = any || now !== null;
  offerActions(any);
}

/** A telephone's screen stays on while it listens, if the browser can do that. */
async function lockScreen(on) {
  try {
    if (on) screenLock = await navigator.wakeLock?.request("screen");
    else await screenLock?.release();
  } catch {
    // it goes off, then
  }
}
