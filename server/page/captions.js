/** What is shown of a stream: its finals, and the utterance that is still open. No I/O. */

import { AS_IT_IS } from "./case.js";
import { SAMPLE_RATE } from "./replay.js";

/** Converts times of the audio to times of a clock. Follows the newest audio, as a device's clock may be off. */
export class SampleClock {
  /** Length of the audio so far, in seconds. */
  heard = 0;
  #samples = 0;
  #began = 0;

  /** Adds samples, the last of which was recorded at `now`, in seconds. */
  hear(samples, now) {
    this.#samples += samples;
    this.heard = this.#samples / SAMPLE_RATE;
    this.#began = now - this.heard;
  }

  /** Seconds from the time that position `at` of the audio was recorded, in real time, until `now`. */
  age(at, now) {
    return now - (this.#began + at);
  }
}

/** What one stream says. Its times begin at `offset`, in seconds, where the stream before it ended. */
export class Take {
  /** `final` messages, with times that count the offset, in the case that is shown. */
  finals = [];
  /** The utterance that is still growing, { text, stable, rest, start, end, segment }; null: nobody speaks. */
  open = null;
  /** Gives texts their case: a Casing, or AS_IT_IS. */
  casing = AS_IT_IS;

  constructor(offset) {
    this.offset = offset;
  }

  /** Takes a message. Returns the final that it adds, or null. */
  show(message) {
    switch (message.type) {
      case "partial":
        this.open = message.text ? this.#opened(message) : null;
        return null;
      case "final":
        if (this.open && this.open.segment <= message.segment) this.open = null;
        return this.#add(message);
      case "ack": // an utterance without words gets no final
        if (this.open && this.open.segment < message.cut) this.open = null;
        return null;
      default:
        return null;
    }
  }

  /** The stream has failed: what was not final yet is kept as it is. Returns it, or null. */
  abandon() {
    if (!this.open) return null;
    const { text, start, end } = this.open;
    this.open = null;
    const final = { type: "final", text, start, end, cut: Math.round(end * SAMPLE_RATE), words: null, unfinished: true };
    this.finals.push(final);
    return final;
  }

  #opened({ segment, text, stable, start, end }) {
    const chars = Array.from(this.casing.text(text));
    return {
      segment,
      text: chars.join(""),
      stable: chars.slice(0, stable).join(""),
      rest: chars.slice(stable).join(""),
      start: this.#at(start),
      end: this.#at(end),
    };
  }

  #add(message) {
    const text = this.casing.text(message.text);
    const final = {
      ...message,
      text,
      start: this.#at(message.start),
      end: this.#at(message.end),
      cut: Math.max(0, message.cut + Math.round(this.offset * SAMPLE_RATE)),
      words: message.words ? this.#timed(message, text) : null,
    };
    this.finals.push(final);
    return final;
  }

  /** The words, written as they are in the text. */
  #timed({ words, text: before }, text) {
    let at = 0;
    return words.map((word) => {
      const found = before.indexOf(word.text, at);
      if (found >= 0) at = found + word.text.length;
      const written = found >= 0 ? text.slice(found, at) : word.text;
      return { ...word, text: written, start: this.#at(word.start), end: this.#at(word.end) };
    });
  }

  #at(seconds) {
    return Math.max(0, seconds + this.offset);
  }
}
