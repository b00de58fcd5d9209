// Takes every address out of package-lock.json: where packages come from is the
// business of whoever builds, and what they hold is fixed by their hashes.
import { readFile, writeFile } from "node:fs/promises";

const file = new URL("package-lock.json", import.meta.url);
const lock = JSON.parse(await readFile(file, "utf8"));
for (const entry of Object.values(lock.packages)) {
  delete entry.resolved;
  delete entry.funding;
}
await writeFile(file, `${JSON.stringify(lock, null, 2)}\n`);
