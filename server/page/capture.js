/**
 * A bounded queue of audio between a device and its reader. No I/O.
 *
 * Samples that are missing, because the reader was too slow or the device was away, are counted and replaced by zeros,
 * so that times stay right.
 */

import { SAMPLE_RATE } from "./replay.js";

export class Capture {
  /** Samples that were lost for any reason and replaced by zeros. */
  dropped = 0;
  #limit;
  #queue = []; // Int16Array, or how many samples are missing
  #waiting = 0;

  /** limit: maximum number of samples in the queue */
  constructor(limit) {
    this.#limit = limit;
  }

  /** Appends samples from the device. */
  put(pcm) {
    if (this.#waiting + pcm.length > this.#limit) return this.lose(pcm.length);
    this.#queue.push(pcm);
    this.#waiting += pcm.length;
  }

  /** So many samples are missing here. */
  lose(count) {
    if (count <= 0) return;
    this.dropped += count;
    if (typeof this.#queue.at(-1) === "number") this.#queue[this.#queue.length - 1] += count;
    else this.#queue.push(count);
  }

  /** Removes and returns the next audio: a block, or at most a second of zeros for lost audio; null if there is none. */
  take() {
    if (!this.#queue.length) return null;
    const head = this.#queue.shift();
    if (typeof head !== "number") {
      this.#waiting -= head.length;
      return head;
    }
    const zeros = Math.min(head, SAMPLE_RATE);
    if (head > zeros) this.#queue.unshift(head - zeros);
    return new Int16Array(zeros);
  }
}
