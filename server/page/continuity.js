/**
 * Joins the messages of successive connections into one sequence without repetitions. No I/O.
 *
 * A server that resumes a stream starts again at the last cut, the sample before which all text is final, and repeats
 * its messages about the audio after it. Partials that the reader has seen are left out, and the counts in acks never
 * go back.
 */
export class Continuity {
  /** The newest cut, in samples: the reader has all text before it. */
  cut = 0;
  #ack = { type: "ack", received: 0, committed: 0, cut: 0 };
  #open = null; // the newest partial of an utterance that has no final yet
  #seen = null; // the newest partial before the resumption

  /** The next messages come from another connection, which starts again at the cut. */
  resumed() {
    this.#seen = this.#open;
  }

  /** Takes a message of the server, and returns the messages for the reader. */
  filter(message) {
    switch (message.type) {
      case "ready":
        return [];
      case "partial":
        return this.#partial(message);
      case "final":
        if (message.cut <= this.cut) return [];
        return [...this.#cutAt(message.cut).filter((each) => each.segment !== message.segment), message];
      case "ack":
        for (const count of ["received", "committed", "cut"]) {
          this.#ack = { ...this.#ack, [count]: Math.max(this.#ack[count], message[count]) };
        }
        return [...this.#cutAt(message.cut), this.#ack];
      default:
        return [message];
    }
  }

  #partial(partial) {
    if (partial.segment < this.cut || (this.#seen && !isNewer(partial, this.#seen))) return [];
    this.#open = partial;
    this.#seen = null;
    return [partial];
  }

  /** Closes the open utterance if it is before the cut. If it got no final, returns an empty partial for it. */
  #cutAt(cut) {
    this.cut = Math.max(this.cut, cut);
    const was = this.#open;
    if (was === null || was.segment >= cut) return [];
    this.#open = this.#seen = null;
    return was.text ? [{ type: "partial", segment: was.segment, start: was.start, end: was.end, text: "", stable: 0 }] : [];
  }
}

const isNewer = (one, other) =>
  one.segment > other.segment || (one.segment === other.segment && one.end > other.end);
