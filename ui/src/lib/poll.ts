// Keeps parts of a page fresh: each element with data-poll is filled again from
// that address, rendered by the server. Without a script a reload does it.

const retryMax = 4;

export function poll(part: HTMLElement): void {
  const every = Number(part.dataset["every"]);
  const address = part.dataset["poll"] ?? "";
  let failed = 0;
  let timer = 0;
  const turn = async (): Promise<void> => {
    if (!document.hidden) {
      const began = performance.now();
      try {
        const answer = await fetch(address, { headers: { Accept: "text/html" }, signal: AbortSignal.timeout(3000) });
        if (!answer.ok) throw new Error(String(answer.status));
        const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
        if (!inUse(part)) part.replaceChildren(...fresh.body.childNodes);
        part.dataset["trip"] = `${Math.round(performance.now() - began)} ms`;
        part.classList.remove("lost");
        failed = 0;
      } catch {
        // One lost answer is no news: another node may answer the next time.
        failed += 1;
        if (failed > 1) part.classList.add("lost");
      }
    }
    timer = setTimeout(turn, pause(every, failed, Math.random()));
  };
  timer = setTimeout(turn, part.childElementCount > 0 ? every : 0); // an empty part waits for nothing
  // Somebody knows that there is something new.
  document.addEventListener("hadir:refresh", () => {
    clearTimeout(timer);
    void turn();
  });
}

/** inUse reports whether somebody is at something in the part, which must not vanish under their hands. */
export function inUse(part: HTMLElement, page: Document = document): boolean {
  return part.contains(page.activeElement) || part.querySelector("input[type=checkbox]:checked, form[data-sent]") !== null;
}

/** pause is the wait before the next turn, with jitter, so that a whole school does not ask at the same moment. */
export function pause(every: number, failed: number, random: number): number {
  return every * Math.min(failed + 1, retryMax) * (0.75 + random / 2);
}
