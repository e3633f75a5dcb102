/** What went wrong, in words that help: { title, text }. */

/** live: it was about the microphone, not a file. */
export function explain(error) {
  return BY_NAME[error.name]?.(error) ?? { title: "Something went wrong", text: error.message };
}

const LOCAL = "http://localhost:" + (location.port || "80");

const BY_NAME = {
  InsecurePage: () => ({
    title: "No microphone for this page",
    text:
      `Browsers give a microphone only to pages of this very machine (${LOCAL}) or over https, and this one came from ` +
      `${location.origin}. Start the server with --tls-cert and --tls-key, or put a proxy with TLS in front of it. ` +
      "Recordings can be dropped here all the same.",
  }),
  NotAllowedError: () => ({
    title: "The microphone was refused",
    text:
      "Allow it for this page: in most browsers by the sign at the left of the address. If it is allowed there, the " +
      "settings of your system may forbid the browser to use it. Then start again.",
  }),
  NotFoundError: () => ({ title: "There is no microphone", text: "Plug one in, or switch it on, and start again." }),
  NoSuchMicrophone: ({ message }) => ({
    title: "The microphone is not there",
    text: `No microphone is called “${message}”. Plug it in, or choose another.`,
  }),
  NotReadableError: () => ({
    title: "The microphone can't be opened",
    text: "Another program may hold it, or the system may block it. Close what uses it, or choose another.",
  }),
  OverconstrainedError: () => ({ title: "The microphone is not there", text: "Plug it in, or choose another." }),
  UnreadableFile: () => ({
    title: "The file can't be read",
    text:
      "This browser does not know its format, or it is damaged. In a terminal, `earshot transcribe` reads any format, " +
      "and recordings of many hours.",
  }),
  StreamError: ({ code, message }) => ({ title: TITLES[code] ?? "The server ended the stream", text: sentence(message) }),
};

const TITLES = {
  unreachable: "The server does not answer",
  timeout: "The server does not answer",
  lost: "The connection is lost",
  forbidden: "The server refuses this page",
  full: "The server is full",
  too_many_connections: "The server is full for you",
  too_many_streams: "Your token has no more streams",
  channel_taken: "Somebody else speaks in this channel",
  publish_refused: "Your token may not publish there",
  language_unsupported: "The model does not know that language",
  hotwords_refused: "A word to listen for was refused",
  fingerprint_mismatch: "The server runs another model now",
};

/** A message of the server as a sentence; addresses and names keep their letters. */
export function sentence(text) {
  const begun = /^[a-z]+[ ,]/.test(text) ? text.charAt(0).toUpperCase() + text.slice(1) : text;
  return /[.!?]$/.test(begun) ? begun : `${begun}.`;
}
