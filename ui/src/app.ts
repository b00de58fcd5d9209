// What every page has.
import { poll } from "./lib/poll";
import { browser, keepUp, Stream } from "./lib/stream";

document.querySelectorAll<HTMLElement>("[data-poll]").forEach(poll);

// A page that is live is told when there is something new, and fetches its parts.
const live = document.querySelector<HTMLElement>("[data-live]");
if (live) {
  let timer = 0;
  const refresh = (): void => {
    timer ||= setTimeout(() => {
      timer = 0;
      document.dispatchEvent(new CustomEvent("hadir:refresh"));
    }, 500);
  };
  const position = { epoch: live.dataset["epoch"] ?? "", seq: Number(live.dataset["seq"]) };
  keepUp(new Stream(["attendance"], position, { event: refresh, reset: refresh }, browser()));
}

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
