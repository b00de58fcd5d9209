// The service worker: the files of the pages and an empty check-in page for a
// phone without a connection. No page with anybody's data is ever kept.
export {};

interface Extendable extends Event {
  waitUntil(work: Promise<unknown>): void;
}
interface Fetching extends Extendable {
  request: Request;
  respondWith(answer: Promise<Response>): void;
}
interface Worker {
  skipWaiting(): Promise<void>;
  clients: { claim(): Promise<void> };
  addEventListener(type: "install" | "activate", work: (event: Extendable) => void): void;
  addEventListener(type: "fetch", work: (event: Fetching) => void): void;
}

const worker = self as unknown as Worker;
const cacheName = "hadir";
const shell = "/offline";

/** refresh takes the shell and what it names, and drops what it does not. */
async function refresh(): Promise<void> {
  const answer = await fetch(shell, { credentials: "same-origin" });
  if (!answer.ok) throw new Error(`${shell}: ${answer.status}`);
  const text = await answer.clone().text();
  const files = [...new Set(text.match(/\/assets\/[^"]+/g) ?? [])];
  const cache = await caches.open(cacheName);
  await cache.addAll(files);
  await cache.put(shell, answer);
  for (const kept of await cache.keys()) {
    const path = new URL(kept.url).pathname;
    if (path !== shell && !files.includes(path)) await cache.delete(kept);
  }
}

worker.addEventListener("install", (event) => {
  event.waitUntil(refresh().then(() => worker.skipWaiting()));
});

worker.addEventListener("activate", (event) => {
  event.waitUntil(worker.clients.claim());
});

worker.addEventListener("fetch", (event) => {
  const { request } = event;
  const { origin, pathname } = new URL(request.url);
  if (request.method !== "GET" || origin !== location.origin) return;
  if (pathname.startsWith("/assets/")) {
    event.respondWith(caches.match(request).then((kept) => kept ?? fetch(request)));
  } else if (request.mode === "navigate") {
    event.respondWith(
      fetch(request).catch(async (error: unknown) => {
        const kept = await caches.match(shell);
        if (kept) return kept;
        throw error;
      }),
    );
  }
});
