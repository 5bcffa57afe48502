import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"

const absent = fileURLToPath(new URL("./src/absent.ts", import.meta.url))

// The built page is part of the Python package: same source, same files. Names carry a digest, so that a browser may keep them.
export default defineConfig({
  base: "./",
  resolve: { alias: [{ find: /^numcodecs\/(blosc|lz4|zstd)$/, replacement: absent }] },
  build: {
    // What the bundled libraries ask of those who hand them on.
    license: { fileName: "licenses.md" },
    outDir: "../src/medcl/annotate/page",
    emptyOutDir: true,
    target: "es2022",
    // The content-security policy lets nothing in from data: addresses but pictures.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 3000,
    sourcemap: false,
  },
  server: { proxy: { "/api": "http://127.0.0.1:8000" } },
  test: { environment: "node", include: ["tests/**/*.test.ts"] },
})
