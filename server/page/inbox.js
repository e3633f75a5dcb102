/** A queue between what receives messages and what reads them, which may be closed, with an error or without. */
export class Inbox {
  closed = false;
  failure = null;
  #messages = [];
  #crowded = CROWDED_MESSAGE_COUNT;
  #readers = [];

  put(message) {
    if (this.closed) return;
    if (this.#messages.length >= this.#crowded) {
      this.#messages = withoutReplaced(this.#messages);
      // Finals are never dropped. Doubling keeps the cost per message constant where there are only finals.
      this.#crowded = Math.max(CROWDED_MESSAGE_COUNT, 2 * this.#messages.length);
    }
    this.#messages.push(message);
    this.#tell();
  }

  /** Ends the queue after the messages in it. If it is called more than once, the first failure is kept. */
  close(failure = null) {
    this.failure ??= failure;
    this.closed = true;
    this.#tell();
  }

  /** Removes and returns the oldest message; waits for one. null: the queue is closed. Throws the failure. */
  async get() {
    while (!this.#messages.length) {
      if (this.closed) {
        if (this.failure) throw this.failure;
        return null;
      }
      await new Promise((resolve) => this.#readers.push(resolve));
    }
    return this.#messages.shift();
  }

  #tell() {
    for (const resolve of this.#readers.splice(0)) resolve();
  }
}

/** When this many messages wait to be read, messages that a newer one replaces (partials, acks) are dropped. */
const CROWDED_MESSAGE_COUNT = 1024;

/** All finals, and of every other type the newest message only; in order. */
function withoutReplaced(messages) {
  const newest = new Map(messages.map((message) => [message.type, message]));
  return messages.filter((message) => message.type === "final" || newest.get(message.type) === message);
}
