/**
 * Text as people write it, of models that know one case only: sentences begin with a capital letter, names have theirs.
 * The rule is that of `--case sentence` (engine/casing.py). No I/O.
 */

const ENGLISH = /^(en|eng|english)([-_]|$)/i;
/** Languages in which the small letter of I is ı. */
const DOTTED = /^(tr|tur|turkish|az|aze|azerbaijani)([-_]|$)/i;
const WORD = "[\\p{L}\\p{N}_]";
const SENTENCE_START = new RegExp(`(?:^|[.?!…]['"”’)]*\\s+)(?:(?!${WORD}).)*(?=${WORD})`, "gsu");
const I = new RegExp(`(?<!${WORD})i(?!${WORD}|-)`, "gu");

/** Gives utterances their case. One that has letters of both is left as it is: its model knows better. */
export class Casing {
  #english;
  #dotted;
  #names;
  #pattern;

  /**
   * language   that is spoken, as `ready` names it; null: it is not known
   * names      words and phrases, spelled as they are to be written; from the hotwords
   */
  constructor(language = null, names = []) {
    this.#english = ENGLISH.test(language ?? "");
    this.#dotted = DOTTED.test(language ?? "");
    const written = names.map((name) => name.trim().replace(/\s+/g, " ")).filter(Boolean);
    this.#names = new Map(written.map((name) => [this.#lower(name), name]));
    const found = [...this.#names.keys()].sort((one, other) => other.length - one.length).map(escaped);
    this.#pattern = found.length ? new RegExp(`(?<!${WORD})(?:${found.join("|")})(?!${WORD})`, "gu") : null;
  }

  /** An utterance, or the beginning of one: as long as it was. */
  text(text) {
    const letters = text.replaceAll("ß", ""); // which has no capital, and stands among capitals
    if (/\p{Lowercase}/u.test(letters) === /\p{Uppercase}/u.test(letters)) return text;
    const small = this.#lower(text);
    const cased = small.split("");
    const put = (at, letters) => cased.splice(at, letters.length, ...letters.split(""));
    if (this.#english) for (const { index } of small.matchAll(I)) put(index, "I");
    for (const start of small.matchAll(SENTENCE_START)) {
      const at = start.index + start[0].length;
      put(at, this.#capital(String.fromCodePoint(small.codePointAt(at))));
    }
    if (this.#pattern) for (const { index, 0: found } of small.matchAll(this.#pattern)) put(index, this.#names.get(found));
    return cased.join("");
  }

  /** In small letters, as many as there were. */
  #lower(text) {
    const plain = text.replaceAll("İ", "i");
    return (this.#dotted ? plain.replaceAll("I", "ı") : plain).toLowerCase();
  }

  #capital(char) {
    if (this.#dotted && char === "i") return "İ";
    const capital = char.toUpperCase();
    return capital.length === char.length ? capital : char;
  }
}

/** Writes texts as the model does. */
export const AS_IT_IS = { text: (text) => text };

const escaped = (name) => name.replace(/[.*+?^${}()|[\]\\/-]/g, (char) => (char === "-" ? "\\x2d" : `\\${char}`));
