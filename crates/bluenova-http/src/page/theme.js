// Light or dark: as the system has it, or as chosen.

const THEME_KEY = "bluenova-theme";
const systemIsDark = matchMedia("(prefers-color-scheme: dark)");
let theme = "auto";
/** Called when the theme has changed. */
let themeChanged = () => {};

function isDark() {
  return theme === "auto" ? systemIsDark.matches : theme === "dark";
}

function applyTheme() {
  document.documentElement.dataset.theme = isDark() ? "dark" : "light";
  const colour = getComputedStyle(document.documentElement).getPropertyValue("--page").trim();
  document.querySelector("meta[name=theme-color]").content = colour;
  themeChanged();
}

/** Browsers may refuse to store anything. The choice lasts as long as the page then. */
function stored(change) {
  try {
    return change(localStorage);
  } catch {
    return null;
  }
}

function startTheme(changed) {
  const select = $("theme").querySelector("select");
  const before = stored((store) => store.getItem(THEME_KEY));
  if ([...select.options].some((option) => option.value === before)) theme = before;
  select.value = theme;
  select.addEventListener("change", () => {
    theme = select.value;
    stored((store) => store.setItem(THEME_KEY, theme));
    applyTheme();
  });
  systemIsDark.addEventListener("change", applyTheme);
  applyTheme();
  themeChanged = changed;
}
