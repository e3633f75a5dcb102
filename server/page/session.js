/** A source of audio, streamed to the server: tells a screen what is heard and what comes back. */

import { Stream } from "./client.js";

/**
 *     const session = new Session(microphone, url, options);
 *     await session.run({ hear, begin, show });                    // until session.stop(), and all text is final
 *
 *     hear(pcm)        a block of audio, as it is sent
 *     begin(ready)     the server has admitted the stream
 *     show(message)    a message of the stream
 *
 * The server is connected to once there is audio: a person may take long to allow the microphone.
 */
export class Session {
  #source;
  #url;
  #options;
  #stream = null;
  #closed = false;

  /** source: blocks of Int16Array, with stop() if it would not end by itself. options: of Stream */
  constructor(source, url, options) {
    this.#source = source;
    this.#url = url;
    this.#options = options;
  }

  /** Throws what the source and the stream throw. */
  async run(screen) {
    const blocks = this.#source[Symbol.asyncIterator]();
    const first = await blocks.next();
    if (first.done || this.#closed) return;
    this.#stream = new Stream(this.#url, this.#options);
    const playing = this.#stream.play(heard(first.value, blocks, screen));
    try {
      let begun = false;
      for await (const message of this.#stream) {
        if (!begun && this.#stream.ready) screen.begin(this.#stream.ready);
        begun = this.#stream.ready !== null;
        screen.show(message);
      }
    } finally {
      this.#source.stop?.();
      await playing;
    }
  }

  /** Ends the audio; the remaining text still comes. */
  stop() {
    this.#source.stop?.();
  }

  /** Ends all at once. */
  close() {
    this.#closed = true;
    this.#source.stop?.();
    this.#stream?.close();
  }
}

async function* heard(first, blocks, screen) {
  try {
    for (let block = { value: first, done: false }; !block.done; block = await blocks.next()) {
      screen.hear(block.value);
      yield block.value;
    }
  } finally {
    await blocks.return?.();
  }
}
