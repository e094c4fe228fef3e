// Light or dark colours: the system's, until the button says otherwise; on paper, light ones.

function themes(redraw = () => {}) {
  const button = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const { dataset } = document.documentElement;
  const set = (dark) => {
    dataset.theme = dark ? "dark" : "light";
    if (!button) return;
    button.textContent = dark ? "Light colours" : "Dark colours";
    button.setAttribute("aria-pressed", String(dark));
  };
  const change = (dark, printing = false) => {
    set(dark);
    redraw(printing);
  };
  set(system.matches);
  button?.addEventListener("click", () => change(dataset.theme !== "dark"));
  system.addEventListener("change", (event) => change(event.matches));
  let before = null;
  addEventListener("beforeprint", () => {
    before = dataset.theme === "dark";
    change(false, true);
  });
  addEventListener("afterprint", () => change(before));
}
