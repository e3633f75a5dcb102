/**
 * Lays growing text out in lines that do not jump, and rolls them up when they have been seen. No I/O.
 *
 * A line that is there stays, and a word stays in its line. Where an utterance is corrected, words change in their
 * lines; only what does not fit any more moves on to the next. Each utterance begins a line.
 */
export class Lines {
  #width;
  #most;
  #done = []; // rows of utterances that are over
  #open = []; // those of the open one
  #starts = []; // the index of the first word of each of them
  #segment = null;

  /** width: of a text, in the unit of `most`, the greatest width of a line */
  constructor(width, most) {
    this.#width = width;
    this.#most = most;
  }

  /** Lines, oldest first, each a list of words { text, dim }. */
  get rows() {
    return [...this.#done, ...this.#open];
  }

  /** Shows all words, { text, dim }, of the utterance `segment`, which grows or is corrected. */
  show(segment, words) {
    if (segment !== this.#segment) {
      if (this.#open.at(-1)?.length === 0) this.#open.pop(); // it was withdrawn
      this.#done = this.rows;
      this.#starts = [];
      this.#segment = segment;
    }
    this.#lay(words);
  }

  /** Forgets the oldest lines, which are to be of utterances that are over. Returns how many it has forgotten. */
  forget(count) {
    return this.#done.splice(0, count).length;
  }

  /** Forgets all lines. */
  clear() {
    this.#done = [];
    this.#open = [];
    this.#starts = [];
    this.#segment = null;
  }

  #lay(words) {
    const rows = [];
    words.forEach((word, n) => {
      const full = rows.length > 0 && !this.#fits([...rows.at(-1), word]);
      const begins = n === this.#starts[rows.length]; // it began a row before: it stays there
      if (rows.length === 0 || full || begins) {
        this.#starts[rows.length] = n;
        rows.push([]);
      }
      rows.at(-1).push(word);
    });
    while (rows.length < this.#starts.length) rows.push([]);
    this.#open = rows;
  }

  #fits(row) {
    return this.#width(row.map(({ text }) => text).join(" ")) <= this.#most;
  }
}

/** Which of the lines are shown: `most` of them, each for at least `dwell` seconds once there is a newer one. */
export class Roll {
  /** The first line that is shown. */
  first = 0;
  #most;
  #dwell;
  #since = []; // when each line was shown first

  constructor(most, dwell) {
    this.#most = most;
    this.#dwell = dwell;
  }

  /** There are so many lines. Returns in how many seconds it is to be asked again; null: not before there are more. */
  update(count, now) {
    for (;;) {
      for (let n = this.#since.length; n < Math.min(count, this.first + this.#most); n += 1) this.#since[n] = now;
      if (count <= this.first + this.#most) return null;
      const left = this.#since[this.first] + this.#dwell - now;
      if (left > 0) return left;
      this.first += 1;
    }
  }

  /** The oldest lines are forgotten. */
  forget(count) {
    this.first -= count;
    this.#since.splice(0, count);
  }

  clear() {
    this.first = 0;
    this.#since = [];
  }
}
