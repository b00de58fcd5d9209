// Bundles the scripts and the style sheet into dist/, from where the Go program
// embeds them. Names have no hash here: ui.go adds one when it serves them, so
// that templates need no manifest and a build without Node has the same names.
import { build } from "esbuild";
import { readFile, readdir, rm, writeFile } from "node:fs/promises";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const out = new URL("dist/", import.meta.url);
for (const name of await readdir(out)) {
  if (name !== ".gitignore") await rm(new URL(name, out), { recursive: true });
}

const entries = (await readdir(new URL("src/", import.meta.url)))
  .filter((name) => name.endsWith(".ts") && !name.endsWith(".test.ts") && !name.endsWith(".d.ts"))
  .map((name) => `src/${name}`);

await build({
  absWorkingDir: new URL(".", import.meta.url).pathname,
  entryPoints: [...entries, "css/app.css"],
  outdir: "dist",
  entryNames: "[name]",
  bundle: true,
  minify: true,
  format: "esm",
  target: ["es2022", "safari16"],
  legalComments: "none",
  logLevel: "warning",
});

for (const name of (await readdir(out)).sort()) {
  if (name === ".gitignore") continue;
  const content = await readFile(new URL(name, out));
  const small = brotliCompressSync(content, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } });
  await writeFile(new URL(`${name}.br`, out), small);
  await writeFile(new URL(`${name}.gz`, out), gzipSync(content, { level: 9 }));
  console.log(`${name.padEnd(16)} ${String(content.length).padStart(7)} bytes, ${String(small.length).padStart(6)} compressed`);
}
