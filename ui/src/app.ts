// What every page has.
import { poll } from "./lib/poll";

document.querySelectorAll<HTMLElement>("[data-poll]").forEach(poll);

// A second tap while the first is on its way is the same tap.
document.querySelectorAll<HTMLFormElement>("form[data-once]").forEach((form) => {
  if (form.closest("[x-data]")) return; // a component sends it
  let sent = false;
  form.addEventListener("submit", (event) => {
    if (sent) event.preventDefault();
    sent = true;
    form.querySelectorAll("button").forEach((button) => button.setAttribute("aria-busy", "true"));
  });
});

// A page out of the browser's memory has used keys in it.
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});

document.querySelector<HTMLElement>("[data-focus]")?.focus();
