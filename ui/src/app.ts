// What every page has.
import { poll } from "./lib/poll";
import { browser, keepUp, Stream } from "./lib/stream";

document.querySelectorAll<HTMLElement>("[data-poll]").forEach(poll);

/** soon has the parts of the page fetched, at most twice a second. */
let due = 0;
const soon = (): void => {
  due ||= setTimeout(() => {
    due = 0;
    document.dispatchEvent(new CustomEvent("hadir:refresh"));
  }, 500);
};

// A page that is live is told when there is something new, and fetches its parts.
const live = document.querySelector<HTMLElement>("[data-live]");
if (live) {
  const position = { epoch: live.dataset["epoch"] ?? "", seq: Number(live.dataset["seq"]) };
  keepUp(new Stream(["attendance"], position, { event: soon, reset: soon }, browser()));
}

// So is one that shows a topic.
const topic = document.querySelector<HTMLElement>("[data-topic]")?.dataset["topic"];
if (topic) {
  keepUp(new Stream([topic], undefined, { other: (frame) => frame.t === topic && soon() }, browser()));
}

// A second tap while the first is on its way is the same tap.
document.querySelectorAll<HTMLFormElement>("form[data-once]").forEach((form) => {
  if (form.closest("[x-data]")) return; // a component sends it
  let sent = false;
  form.addEventListener("submit", (event) => {
    if (sent) event.preventDefault();
    sent = true;
    form.dataset["sent"] = "true";
    form.querySelectorAll("button").forEach((button) => button.setAttribute("aria-busy", "true"));
  });
});

// A page out of the browser's memory has used keys in it.
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});

document.querySelector<HTMLElement>("[data-focus]")?.focus();
