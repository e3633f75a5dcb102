/** Shows what is heard: the level, how long it lasted, how far the text is behind; or how far a file has come. */

import { SampleClock } from "./captions.js";
import { SAMPLE_RATE } from "./replay.js";
import { byId, clock } from "./view.js";

/** The lowest level that the meter shows, in dB relative to full scale. */
const QUIET_DB = -60;

export class Listening {
  #clock = new SampleClock();
  #source;
  #offset;
  #live;

  /** source: a Microphone or a FileAudio. offset: seconds heard before */
  constructor(source, offset, live) {
    this.#source = source;
    this.#offset = offset;
    this.#live = live;
    byId("level").hidden = !live;
    byId("progress").hidden = live;
    byId("progress").value = 0;
    byId("delay").textContent = byId("lost").textContent = "";
  }

  /** Seconds that were heard. */
  get heard() {
    return this.#clock.heard;
  }

  /** Takes a block of audio. */
  hear(pcm) {
    this.#clock.hear(pcm.length, seconds());
    byId("elapsed").textContent = clock(this.#offset + this.heard);
    if (!this.#live) return;
    showLevel(levelDb(pcm));
    const dropped = this.#source.dropped;
    byId("lost").textContent = dropped > 0 ? `${dropped.toFixed(1)} s not heard` : "";
  }

  /** Takes a message of the stream. */
  show(message) {
    if (this.#live && (message.type === "partial" || message.type === "final")) {
      const delay = Math.max(0, this.#clock.age(message.end, seconds()));
      byId("delay").textContent = message.type === "partial" && message.text ? `${delay.toFixed(1)} s behind` : "";
    }
    if (!this.#live && message.type === "ack" && this.#source.duration) {
      const share = Math.min(1, message.committed / SAMPLE_RATE / this.#source.duration);
      byId("progress").value = share;
      byId("delay").textContent = `${Math.floor(100 * share)} % of ${clock(this.#source.duration)}`;
    }
  }

  /** Nothing is heard any more. */
  end() {
    byId("delay").textContent = "";
    byId("progress").hidden = true;
    byId("level").hidden = false;
    showLevel(QUIET_DB);
  }
}

function showLevel(db) {
  const share = 1 - Math.min(1, Math.max(0, db / QUIET_DB));
  byId("level").firstElementChild.style.transform = `translateX(${100 * share - 100}%)`;
  byId("level").setAttribute("aria-valuenow", String(Math.round(Math.max(QUIET_DB, db))));
}

/** The level of 16-bit samples, in dB relative to full scale. */
function levelDb(pcm) {
  let sum = 0;
  for (const sample of pcm) sum += sample * sample;
  return 10 * Math.log10(sum / Math.max(1, pcm.length) / 32768 ** 2 + 1e-12);
}

const seconds = () => performance.now() / 1000;
