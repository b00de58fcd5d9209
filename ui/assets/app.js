// Keeps parts of a page fresh: each element with data-poll is filled again from
// that address, rendered by the server. Without this script a reload does it.
"use strict";

const retryMax = 4;

function poll(part) {
  const every = Number(part.dataset.every);
  let failed = 0;
  const turn = async () => {
    if (!document.hidden) {
      try {
        const answer = await fetch(part.dataset.poll, { headers: { Accept: "text/html" }, signal: AbortSignal.timeout(3000) });
        if (!answer.ok) throw new Error(String(answer.status));
        const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
        part.replaceChildren(...fresh.body.childNodes);
        part.classList.remove("lost");
        failed = 0;
      } catch {
        // One lost answer is no news: another node may answer the next time.
        failed += 1;
        if (failed > 1) part.classList.add("lost");
      }
    }
    // Jitter, so that a whole school does not ask at the same moment.
    setTimeout(turn, every * Math.min(failed + 1, retryMax) * (0.75 + Math.random() / 2));
  };
  setTimeout(turn, every);
}

document.querySelectorAll("[data-poll]").forEach(poll);

// A second tap while the first is on its way is the same tap.
document.querySelectorAll("form[data-once]").forEach((form) => {
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

document.querySelector("[data-focus]")?.focus();
