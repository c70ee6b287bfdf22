// Builds the page into the Python package, so that a wheel carries it and its user needs no Node.
import { readFileSync } from "node:fs";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

/** Packages that ship no licence text of their own, with what their authors ask for. */
const WITHOUT_TEXT: Record<string, string> = {
  "fancy-canvas": `MIT licence, by TradingView, Inc. (smakarov@tradingview.com).

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated documentation files
(the "Software"), to deal in the Software without restriction, including without limitation the rights to use, copy, modify, merge,
publish, distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is furnished to do
so, subject to the following conditions: The above copyright notice and this permission notice shall be included in all copies or
substantial portions of the Software. THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND.`,
};
const NOTICES: Record<string, string> = {
  "lightweight-charts": "TradingView Lightweight Charts™, Copyright (c) TradingView, Inc., https://www.tradingview.com/\n\n",
};
const SHIPPED = ["preact", "@preact/signals", "@preact/signals-core", "lightweight-charts", "fancy-canvas", "@fontsource-variable/inter", "@fontsource-variable/jetbrains-mono"];

/** The licences of what is shipped inside the page, as they ask for. */
function licences(): Plugin {
  return {
    name: "licences",
    apply: "build",
    generateBundle() {
      const text = (name: string): string => WITHOUT_TEXT[name] ?? readFileSync(`node_modules/${name}/LICENSE`, "utf8").trim();
      const texts = SHIPPED.map((name) => `${name}\n\n${NOTICES[name] ?? ""}${text(name)}\n`);
      this.emitFile({ type: "asset", fileName: "licences.txt", source: texts.join(`\n${"-".repeat(80)}\n\n`) });
    },
  };
}

export default defineConfig({
  base: "/",
  plugins: [licences()],
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    outDir: "../python/tidebook/console/dist",
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0, // the page's security policy allows no data: addresses
    modulePreload: { polyfill: false },
    rolldownOptions: { input: ["index.html", "docs.html"] },
  },
  server: {
    port: 5173,
    proxy: {
      "/api": "http://127.0.0.1:8080",
      "/ws": { target: "ws://127.0.0.1:8080", ws: true },
    },
  },
  test: { include: ["test/**/*.test.ts"], environment: "node" },
});
