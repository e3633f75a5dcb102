/**
 * The send buffer of a stream: keeps audio until its text is final, to send it again after a lost connection. No I/O.
 *
 *     replay.audio(bytes); replay.flush(); replay.stop();          // unless replay.full
 *     while ((message = replay.take()) !== null) ...               // to be sent, in order
 *     replay.acked(cut);                                           // audio before it may be dropped
 *     start.resume = replay.rewind(fingerprint);                   // take() starts again at the oldest audio kept
 *
 * A cut is a sample before which all text is final; a server can resume there. Positions are in bytes of 16-bit samples
 * from the start of the stream, because a block of audio may end within a sample.
 */

export const SAMPLE_RATE = 16000;
export const SAMPLE_BYTES = 2;
/** Longest message of audio that is sent: 0.1 s. */
export const MESSAGE_BYTES = 3200;
/** Maximum number of flushes that wait to be sent. */
export const MAX_FLUSH_COUNT = 1024;

/** The audio, flushes and stop of a stream, and the position up to which they were taken to be sent. */
export class Replay {
  /** The newest cut, in samples. */
  cut = 0;
  stopped = false;
  #limitBytes;
  #audio = new Bytes(); // begins at position #start
  #start = 0;
  #taken = 0;
  #flushes = []; // positions of flushes that were not taken yet
  #sentFlushes = []; // positions of those that were, after the cut
  #stopDue = false;

  /**
   * context   samples before a cut that a server needs to resume there; null: the stream can't be resumed, and audio is
   *           dropped once it is taken. The server says it: until nothing is taken it may be set
   * keep      maximum amount of audio in the buffer, in seconds of 16 kHz PCM; then it is `full`
   */
  constructor(context, keep) {
    this.context = context;
    this.#limitBytes = Math.round(keep * SAMPLE_RATE) * SAMPLE_BYTES;
  }

  // ---- in

  /** Appends audio, a Uint8Array. */
  audio(data) {
    this.#audio.append(data);
  }

  /** Appends a flush. */
  flush() {
    this.#flushes.push(this.#end);
  }

  /** Ends the audio. Nothing may follow. */
  stop() {
    this.stopped = this.#stopDue = true;
  }

  /** All text before sample `cut` has arrived: drops the audio that is no longer needed. */
  acked(cut) {
    this.cut = Math.max(this.cut, Math.min(cut, Math.floor(this.#taken / SAMPLE_BYTES)));
    if (this.context !== null) this.#forget(Math.max(0, this.cut - this.context) * SAMPLE_BYTES);
    while (this.#sentFlushes.length && this.#sentFlushes[0] <= this.cut * SAMPLE_BYTES) this.#sentFlushes.shift();
  }

  // ---- out

  /** Returns the next message to be sent, a Uint8Array or an object; null if there is none. */
  take() {
    const until = this.#flushes.length ? this.#flushes[0] : this.#end;
    if (this.#taken < until) {
      const first = this.#taken;
      this.#taken = Math.min(until, first + MESSAGE_BYTES);
      const data = this.#audio.slice(first - this.#start, this.#taken - this.#start);
      if (this.context === null) this.#forget(this.#taken);
      return data;
    }
    if (this.#flushes.length) {
      const at = this.#flushes.shift();
      const repeated = this.#sentFlushes.length > 0 && this.#sentFlushes.at(-1) >= at; // a second flush has no effect
      if (this.context !== null && !repeated) this.#sentFlushes.push(at);
      return { type: "flush" };
    }
    if (this.#stopDue) {
      this.#stopDue = false;
      return { type: "stop" };
    }
    return null;
  }

  /** Makes `take` start again at the oldest audio kept. Returns the `resume` of the next connection's `start`. */
  rewind(fingerprint) {
    this.#taken = this.#start;
    this.#flushes = [...this.#sentFlushes, ...this.#flushes];
    this.#sentFlushes = [];
    this.#stopDue = this.stopped;
    return { cut: this.cut, from_sample: Math.floor(this.#start / SAMPLE_BYTES), fingerprint };
  }

  // ---- state

  /** Whether the stream can go on over another connection. */
  get resumable() {
    return this.context !== null;
  }

  /** Whether the caller should wait before it adds more. */
  get full() {
    return this.#audio.length >= this.#limitBytes || this.#flushes.length >= MAX_FLUSH_COUNT;
  }

  /** Seconds of audio that were not taken yet. */
  get waiting() {
    return toSeconds(this.#end - this.#taken);
  }

  /** Seconds of audio that have no final text yet. */
  get kept() {
    return toSeconds(this.#end - Math.max(this.#start, this.cut * SAMPLE_BYTES));
  }

  /** Seconds of audio that were taken and would be sent again after a rewind. */
  get taken() {
    return toSeconds(this.#taken - this.#start);
  }

  /** Bytes that are held. */
  get size() {
    return this.#audio.length;
  }

  get #end() {
    return this.#start + this.#audio.length;
  }

  #forget(before) {
    if (before > this.#start) {
      this.#audio.drop(before - this.#start);
      this.#start = before;
    }
  }
}

const toSeconds = (bytes) => bytes / SAMPLE_BYTES / SAMPLE_RATE;

/** A queue of bytes in one block of memory, which grows when it has to. */
class Bytes {
  #data = new Uint8Array(1 << 16);
  #from = 0;
  length = 0;

  append(data) {
    if (this.#from + this.length + data.length > this.#data.length) this.#makeRoom(data.length);
    this.#data.set(data, this.#from + this.length);
    this.length += data.length;
  }

  /** A copy of the bytes from `first` up to `end`. */
  slice(first, end) {
    return this.#data.slice(this.#from + first, this.#from + end);
  }

  /** Drops the oldest bytes. */
  drop(count) {
    this.#from += count;
    this.length -= count;
  }

  #makeRoom(more) {
    const needed = this.length + more;
    const fits = needed <= this.#data.length / 2;
    const data = fits ? this.#data : new Uint8Array(2 * needed);
    data.set(this.#data.subarray(this.#from, this.#from + this.length));
    this.#data = data;
    this.#from = 0;
  }
}
