// Light or dark: the reader's choice, else the system's. And on a phone, what was opened over the conversation closes again.
(() => {
  const chosen = () => localStorage.getItem("kwen-theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => document.body.classList.toggle("dark", chosen() ? chosen() === "dark" : system.matches);
  window.kwenSwitchTheme = () => {
    localStorage.setItem("kwen-theme", document.body.classList.contains("dark") ? "light" : "dark");
    apply();
  };
  window.kwenCloseOnPhone = () => {
    if (innerWidth <= 768) document.querySelector("#kwen-conversations.open .toggle-button")?.click();
  };
  window.kwenNameToggles = () => {
    for (const [id, name] of [["kwen-conversations", "Conversations"], ["kwen-settings", "Settings"]]) {
      const button = document.querySelector(`#${id} .toggle-button`);
      button?.setAttribute("aria-label", name);
      button?.setAttribute("title", name);
    }
  };
  system.addEventListener("change", apply);
  const start = () => {
    apply();
    new MutationObserver(() => {
      if (chosen() && document.body.classList.contains("dark") !== (chosen() === "dark")) apply();
    }).observe(document.body, { attributes: true, attributeFilter: ["class"] });
  };
  if (document.body) start();
  else addEventListener("DOMContentLoaded", start);
})();
