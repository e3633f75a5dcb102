/** Runs before the page is drawn, so that it is drawn once: light or dark, page or overlay, to listen or to watch. */
{
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  let chosen = "system";
  try {
    chosen = JSON.parse(localStorage.getItem("earshot") ?? "{}").theme ?? "system";
  } catch {
    // the browser keeps nothing for this page
  }
  const paint = () => (root.dataset.theme = chosen === "system" ? (system.matches ? "dark" : "light") : chosen);
  system.addEventListener("change", paint);
  root.addEventListener("theme", ({ detail }) => {
    chosen = detail;
    paint();
  });
  paint();
  const query = new URLSearchParams(location.search);
  root.dataset.view = query.get("overlay") === "1" ? "overlay" : "page";
  root.dataset.does = query.has("watch") ? "watch" : "listen";
}
