/** Draws the captions: finals once, each a paragraph that a screen reader hears of; below them what is still growing. */

/** At so many pixels from the end of the captions, the newest are followed. */
const NEAR_PX = 80;

export class View {
  #scroll;
  #finals;
  #open;
  #latest;
  #follows = true;

  constructor() {
    this.#scroll = byId("transcript");
    this.#finals = byId("finals");
    this.#open = byId("open");
    this.#latest = byId("latest");
    this.#scroll.addEventListener("scroll", () => this.#scrolled());
    this.#latest.addEventListener("click", () => this.follow());
    new ResizeObserver(() => this.#settle()).observe(this.#scroll);
  }

  /** Adds a final. */
  add({ text, start, unfinished = false }) {
    const paragraph = document.createElement("p");
    paragraph.append(timeOf(start), spanOf(text));
    paragraph.classList.toggle("unfinished", unfinished);
    this.#finals.append(paragraph);
    this.#settle();
  }

  /** Shows the utterance that is still growing, { start, stable, rest }, or none. */
  grow(open) {
    this.#open.hidden = open === null;
    if (open !== null) {
      this.#open.firstElementChild.textContent = clock(open.start);
      byId("open-stable").textContent = open.stable;
      byId("open-rest").textContent = open.rest;
    }
    this.#settle();
  }

  /** Takes all finals away. */
  clear() {
    this.#finals.replaceChildren();
    this.follow();
  }

  /** Shows the newest, and stays with it. */
  follow() {
    this.#follows = true;
    this.#settle();
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroll;
    this.#follows = scrollHeight - scrollTop - clientHeight < NEAR_PX;
    this.#latest.hidden = this.#follows;
  }

  #settle() {
    if (this.#follows) this.#scroll.scrollTop = this.#scroll.scrollHeight;
  }
}

/** Seconds as 0:07, 12:05 or 1:02:03. */
export function clock(seconds) {
  const whole = Math.floor(seconds);
  const two = (n) => String(n).padStart(2, "0");
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

export const byId = (id) => document.getElementById(id);

function timeOf(seconds) {
  const time = document.createElement("time");
  time.textContent = clock(seconds);
  return time;
}

function spanOf(text) {
  const span = document.createElement("span");
  span.textContent = text;
  return span;
}
