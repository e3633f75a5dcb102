/** Captions for OBS and projectors: lines on a transparent page, and nothing else. It listens by itself. */

import { Take } from "./captions.js";
import { Lines, Roll } from "./lines.js";
import { Microphone } from "./microphone.js";
import { explain, sentence } from "./problems.js";
import { Session } from "./session.js";
import * as settings from "./settings.js";
import { byId } from "./view.js";
import { Watching } from "./watch.js";

/** How long it waits before it tries again after something went wrong. */
const RETRY_SECONDS = 5;
/** So many lines that are gone are kept before they are taken out. */
const GONE_LINES = 20;
/** Of a line, as a multiple of the size of its letters. */
const ROW_HEIGHT = 1.35;

export async function begin() {
  const look = readLook(new URLSearchParams(location.search));
  const chosen = readChoices(new URLSearchParams(location.search));
  const screen = new Screen(byId("overlay"), look);
  const token = settings.loadToken();
  for (;;) {
    try {
      await (chosen.watch ? watch(screen, chosen, token) : listen(screen, chosen, token));
    } catch (error) {
      const { title, text } = explain(error);
      const wantsToken = error.code === "unauthorized";
      const wanted = token ? "The server does not know the token in the address" : "A token is wanted: add #token=... to the address";
      screen.complain("connection", wantsToken ? wanted : `${title}. ${text}`);
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_SECONDS * 1000));
  }
}

async function listen(screen, chosen, token) {
  const microphone = new Microphone({ device: chosen.device || null, report: (what) => screen.reportMicrophone(what) });
  const options = settings.streamOptions(chosen, { live: true, token });
  const take = new Take(0);
  await new Session(microphone, location.origin, options).run({
    hear: () => {},
    begin: ({ language }) => (take.casing = settings.casing(chosen, language)),
    show: (message) => {
      screen.reportConnection(message);
      showIn(screen, take, message);
    },
  });
}

/** Shows what others say. */
async function watch(screen, chosen, token) {
  let take = new Take(0);
  for await (const message of new Watching(location.origin, chosen.watch, { token })) {
    screen.reportViewing(message);
    if (message.type === "watching") {
      take = new Take(0);
      take.casing = settings.casing(chosen, message.language);
      screen.begin();
    }
    showIn(screen, take, message);
  }
}

function showIn(screen, take, message) {
  const final = take.show(message);
  take.finals = [];
  if (final) screen.show(final.segment, final.text, "");
  else if (message.type === "partial") screen.show(message.segment, take.open?.stable ?? "", take.open?.rest ?? "");
}

/** How it looks, from the address; what makes no sense there is not heeded. */
function readLook(query) {
  const number = (name, usual, least, most) => {
    const value = Number(query.get(name) || usual);
    return Number.isFinite(value) ? Math.min(most, Math.max(least, value)) : usual;
  };
  const one = (name, ...of) => (of.includes(query.get(name)) ? query.get(name) : of[0]);
  return {
    lines: Math.round(number("lines", 2, 1, 6)),
    size: number("size", 48, 8, 400),
    width: number("width", 42, 8, 200),
    dwell: number("dwell", 1, 0, 10),
    linger: number("linger", 6, 0, 3600),
    position: one("position", "bottom", "top", "middle"),
    align: one("align", "left", "center"),
    colors: { color: colorOf(query.get("color")), behind: colorOf(query.get("background")), page: colorOf(query.get("page")) },
  };
}

function readChoices(query) {
  const usual = { ...settings.load(), device: "" };
  for (const name of ["device", "language", "commit", "stability", "hotwords", "letters"]) {
    if (query.has(name)) usual[name] = query.get(name).replaceAll(",", name === "hotwords" ? "\n" : ",");
  }
  return { ...usual, watch: query.get("watch") };
}

/** A colour of CSS; digits may come without #. null: none was named that is one. */
function colorOf(text) {
  if (!text) return null;
  if (text === "none") return "transparent";
  return [`#${text}`, text].find((each) => CSS.supports("color", each)) ?? null;
}

/** The lines on the page. */
class Screen {
  #lines;
  #roll;
  #look;
  #rollElement = document.createElement("div");
  #window = document.createElement("div");
  #trouble = document.createElement("p");
  #troubles = {};
  #rowPx; // whole pixels, so that nothing shows of the lines that are gone
  #timer = null;
  #clearTimer = null;

  constructor(element, look) {
    this.#look = look;
    element.hidden = false;
    element.dataset.position = look.position;
    element.dataset.align = look.align;
    element.setAttribute("role", "log");
    element.setAttribute("aria-label", "Captions");
    const root = document.documentElement.style;
    for (const [name, color] of Object.entries(look.colors)) if (color) root.setProperty(`--${name}`, color);
    root.setProperty("--letters", `${look.size}px`);
    root.setProperty("--lines", look.lines);
    this.#rowPx = Math.round(ROW_HEIGHT * look.size);
    root.setProperty("--row", `${this.#rowPx}px`);
    this.#window.className = "window";
    this.#rollElement.className = "roll";
    this.#trouble.className = "trouble";
    this.#trouble.hidden = true;
    this.#window.append(this.#rollElement);
    element.append(this.#window, this.#trouble);
    this.#layOut(element);
  }

  /** Lines are as wide as so many letters of usual text, if the page is. */
  #layOut(element) {
    const context = document.createElement("canvas").getContext("2d");
    const style = getComputedStyle(element);
    context.font = `${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
    const width = (text) => context.measureText(text).width;
    const letter = width("the quick brown fox jumps over the lazy dog") / 43;
    const margin = 0.7 * this.#look.size; // of the ground behind a line
    document.documentElement.style.setProperty("--width", `${Math.ceil(letter * this.#look.width + margin)}px`);
    this.#lines = new Lines(width, this.#window.clientWidth - margin);
    this.#roll = new Roll(this.#look.lines, this.#look.dwell);
  }

  /** Shows an utterance: its text that stays, and the rest. */
  show(segment, stable, rest) {
    this.#lines.show(segment, wordsOf(stable, rest));
    this.#draw();
    clearTimeout(this.#clearTimer);
    if (this.#look.linger) this.#clearTimer = setTimeout(() => this.#clear(), this.#look.linger * 1000);
  }

  /** Says what is wrong with the microphone or the connection, in a small line; "": it is right again. */
  complain(about, text) {
    this.#troubles[about] = text;
    const all = Object.values(this.#troubles).filter(Boolean).join("; ");
    if (this.#trouble.textContent !== all) this.#trouble.textContent = all;
    this.#trouble.hidden = !all;
  }

  reportMicrophone(what) {
    const asleep = "Click here once: the browser wants it before a page listens";
    this.complain("microphone", { asleep, away: "The microphone is unplugged" }[what] ?? "");
  }

  reportConnection({ type, reason }) {
    const lost = type === "waiting" || type === "reconnecting";
    this.complain("connection", lost ? `${sentence(reason)} What is said is kept.` : "");
  }

  reportViewing({ type }) {
    this.complain("connection", type === "waiting" ? "No connection; it is tried again" : "");
  }

  /** Another stream begins, whose utterances are numbered anew. */
  begin() {
    this.#clear();
  }

  #draw() {
    clearTimeout(this.#timer);
    const { rows } = this.#lines;
    const again = this.#roll.update(rows.length, performance.now() / 1000);
    if (again !== null) this.#timer = setTimeout(() => this.#draw(), again * 1000);
    while (this.#rollElement.children.length < rows.length) this.#rollElement.append(lineElement());
    rows.forEach((row, n) => fill(this.#rollElement.children[n], row));
    this.#moveTo(this.#roll.first);
    if (this.#roll.first > GONE_LINES) this.#forget(this.#roll.first - this.#look.lines);
  }

  #moveTo(first) {
    this.#rollElement.style.transform = `translateY(${-this.#rowPx * first}px)`;
  }

  /** Takes out lines that are gone, so that the page does not grow. */
  #forget(count) {
    const gone = this.#lines.forget(count);
    this.#roll.forget(gone);
    for (let n = 0; n < gone; n += 1) this.#rollElement.firstElementChild.remove();
    this.#rollElement.classList.add("still");
    this.#moveTo(this.#roll.first);
    this.#rollElement.getBoundingClientRect(); // the browser is to see it before it moves again
    this.#rollElement.classList.remove("still");
  }

  /** Nothing was said for long. */
  #clear() {
    clearTimeout(this.#timer);
    this.#lines.clear();
    this.#roll.clear();
    this.#rollElement.replaceChildren();
    this.#moveTo(0);
  }
}

function wordsOf(stable, rest) {
  const whole = (stable + rest).split(/\s+/).filter(Boolean);
  const sure = stable.split(/\s+/).filter(Boolean).length;
  return whole.map((text, n) => ({ text, dim: n >= sure }));
}

function lineElement() {
  const line = document.createElement("div");
  line.className = "line";
  return line;
}

/** A line's words: those that may still change are dim. */
function fill(line, row) {
  const key = row.map(({ text, dim }) => (dim ? `~${text}` : text)).join(" ");
  if (line.dataset.key === key) return;
  line.dataset.key = key;
  if (!row.length) return line.replaceChildren();
  const ground = document.createElement("span");
  const join = (words) => words.map(({ text }) => text).join(" ");
  const sure = row.filter(({ dim }) => !dim);
  const rest = document.createElement("i");
  rest.textContent = (sure.length && sure.length < row.length ? " " : "") + join(row.slice(sure.length));
  ground.append(join(sure), rest);
  line.replaceChildren(ground);
}
