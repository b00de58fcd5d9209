// The phone's disk for taps: IndexedDB.
import { openDB } from "idb";
import type { Store, Tap } from "./outbox";

export function disk(): Store {
  const db = openDB("hadir", 1, {
    upgrade(fresh) {
      // Keys are ULIDs: they sort by the time they were made.
      fresh.createObjectStore("taps", { keyPath: "key" });
    },
  });
  return {
    all: async () => (await (await db).getAll("taps")) as Tap[],
    put: async (tap) => {
      // strict: a tap is on disk when this resolves, whatever happens to the phone.
      const tx = (await db).transaction("taps", "readwrite", { durability: "strict" });
      await Promise.all([tx.store.put(tap), tx.done]);
    },
    remove: async (key) => {
      await (await db).delete("taps", key);
    },
  };
}
