/**
 * Exponential backoff with full jitter and a time limit. No I/O.
 *
 * Attempts and time add up over successive losses, unless text was committed in between or the connection lasted
 * STEADY_SECONDS. So a client gives up on a server that fails again and again on the same audio.
 */

/** A connection that lasted this long counts as working, even if no text was committed over it. */
export const STEADY_SECONDS = 60;

export class Backoff {
  attempts = 0;
  #first;
  #longest;
  #clock;
  #uniform;
  #spent = 0; // seconds without a connection, before the current loss
  #lost = null;
  #found;

  /**
   * limit    maximum time without a connection, in seconds
   * first    maximum wait before the first attempt, in seconds; it doubles with each attempt
   * longest  upper limit of that maximum, in seconds
   */
  constructor(limit, first = 0.1, longest = 5, clock = seconds, uniform = between) {
    this.limit = limit;
    this.#first = first;
    this.#longest = longest;
    this.#clock = clock;
    this.#uniform = uniform;
    this.#found = clock();
  }

  /** The connection was lost. */
  lost() {
    this.#lost = this.#clock();
    if (this.#lost - this.#found >= STEADY_SECONDS) this.achieved();
  }

  /** Counts an attempt and returns the seconds to wait before it, at most `left`. */
  wait() {
    const ceiling = Math.min(this.#longest, this.#first * 2 ** Math.min(this.attempts, 60));
    this.attempts += 1;
    return Math.max(0, Math.min(this.left, this.#uniform(0, ceiling)));
  }

  /** The client is connected again. */
  found() {
    this.#found = this.#clock();
    if (this.#lost !== null) this.#spent += this.#found - this.#lost;
    this.#lost = null;
  }

  /** The connection works: resets attempts and time for the next loss. */
  achieved() {
    this.attempts = 0;
    this.#spent = 0;
  }

  /** Seconds left for attempts; none if 0 or less. */
  get left() {
    return this.limit - this.#spent - (this.#lost === null ? 0 : this.#clock() - this.#lost);
  }
}

const seconds = () => performance.now() / 1000;
const between = (low, high) => low + Math.random() * (high - low);
