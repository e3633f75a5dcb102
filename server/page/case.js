/**
 * Sentence case for models that write capitals only: LATER I'LL SEE ADA -> Later I'll see Ada. No I/O.
 *
 * The text of a model that writes small letters, too, is left as it is.
 */
export class SentenceCase {
  #names;
  #english;
  #mixed = false; // whether the model has been seen to write small letters

  /**
   * language   of the stream; in English, "I" is a capital. null: unknown, taken for English
   * names      words and phrases as they are written: Ada Lovelace
   */
  constructor(language = null, names = []) {
    this.#english = language === null || /^en/i.test(language);
    const found = names.filter((name) => name !== lower(name)).map((name) => [bare(name), name]);
    this.#names = found.sort(([one], [other]) => other.length - one.length);
  }

  /** An utterance, or the beginning of one. It has as many characters as before, each at its place. */
  apply(text) {
    this.#mixed ||= text !== upper(text);
    if (this.#mixed) return text;
    let cased = lower(text).replace(/(?:^|[.?!…]\s+)\P{L}*\p{L}/gu, upper);
    if (this.#english) cased = cased.replace(/(?<![\p{L}\p{M}'’])i(?![\p{L}\p{M}])/gu, "I"); // I'll, I'm, too
    for (const [plain, name] of this.#names) cased = replaceWords(cased, plain, name);
    return cased;
  }
}

/** Small letters, as many as there were capitals. */
function lower(text) {
  return sameLength(text, (each) => each.toLowerCase());
}

function upper(text) {
  return sameLength(text, (each) => each.toUpperCase());
}

function sameLength(text, change) {
  const whole = change(text);
  if (whole.length === text.length) return whole;
  return Array.from(text, (char) => (change(char).length === char.length ? change(char) : char)).join("");
}

const bare = (text) => lower(text).trim().replace(/\s+/g, " ");

/** Replaces the words `plain`, where they stand between other words, by `name`, which differs in its capitals only. */
function replaceWords(text, plain, name) {
  if (plain.length !== name.length) return text;
  const words = plain.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  return text.replace(new RegExp(`(?<![\\p{L}\\p{M}'])${words}(?![\\p{L}\\p{M}])`, "giu"), (found) =>
    bare(found) === plain ? name : found,
  );
}
