/** The line on top: what is open, how far the set is, whether everything is saved, who draws. */

import type { App } from "../app"
import type { CaseState } from "../net/types"
import { button, byId, count, fill, h } from "./dom"
import { askName, showGuide, showKeys } from "./dialogs"

const ORDER: readonly (readonly [CaseState, string])[] = [
  ["reviewed", "reviewed"],
  ["predicted", "predicted"],
  ["strokes", "with strokes"],
  ["wrong", "marked wrong"],
  ["untouched", "untouched"],
]

export function makeHeader(app: App): void {
  const name = h("strong", { class: "project" })
  const bar = h("div", { class: "progress", role: "img" })
  const numbers = h("span", { class: "numbers" })
  const saved = h("span", { class: "saved", role: "status", aria: { live: "polite" } })
  const author = button("", () => void askName(app).then(() => app.emit("project")), { class: "quiet", title: "Name that your strokes are kept under" })
  const theme = button("", () => {
    const order = ["auto", "light", "dark"] as const
    app.setPreferences({ theme: order[(order.indexOf(app.preferences.theme) + 1) % 3]! })
    showTheme()
  }, { class: "quiet", title: "Light or dark" })
  fill(
    byId("header"),
    h("img", { src: "./icon.svg", alt: "", width: 28, height: 28 }),
    h("h1", {}, "medcl ", name),
    h("div", { class: "whole" }, bar, numbers),
    saved,
    author,
    theme,
    button("Guide", () => showGuide(), { class: "quiet" }),
    button("Keys", () => showKeys(), { class: "quiet", key: "?" }),
  )

  function showTheme(): void {
    const { theme: wanted } = app.preferences
    if (wanted === "auto") delete document.documentElement.dataset.theme
    else document.documentElement.dataset.theme = wanted
    theme.textContent = { auto: "◐ Auto", light: "☀ Light", dark: "☾ Dark" }[wanted]
  }

  function showProject(): void {
    name.textContent = app.project.name
    document.title = `${app.project.name} · medcl annotate`
    author.textContent = `✎ ${app.author || "Your name"}`
    fill(byId("notices"), ...app.project.notices.map((notice) => h("p", {}, notice)))
  }

  function showCases(): void {
    const total = app.cases.length || 1
    const states = new Map<CaseState, number>()
    for (const one of app.cases) states.set(one.state, (states.get(one.state) ?? 0) + 1)
    const parts = ORDER.filter(([state]) => states.get(state))
    fill(bar, ...parts.map(([state]) => {
      const piece = h("span", { class: `piece ${state}` })
      piece.style.width = `${(100 * states.get(state)!) / total}%`
      return piece
    }))
    const words = parts.filter(([state]) => state !== "untouched").map(([state, word]) => `${states.get(state)} ${word}`)
    bar.setAttribute("aria-label", `Progress: ${words.join(", ") || "nothing yet"} of ${count(app.cases.length, "case")}`)
    numbers.textContent = `${count(app.cases.length, "case")}${words.length ? `: ${words.join(", ")}` : ""}`
  }

  function showSaving(): void {
    const { waiting, away, full, locked } = app.saving
    const kept = full ? "; the browser's storage is full, do not close this page" : ", kept in this browser"
    let [text, state] = ["✓ All saved", "good"]
    if (locked) [text, state] = [`⚠ The server was started anew: open the address that it printed. ${count(waiting, "change")} not saved yet${kept}`, "bad"]
    else if (away) [text, state] = [`⚠ Server away: ${count(waiting, "change")} not saved yet${kept}; trying again`, "bad"]
    else if (waiting > 0) [text, state] = [`… Saving ${count(waiting, "change")}`, "busy"]
    else if (!app.isConnected) [text, state] = ["⚠ Server away; trying again", "bad"]
    if (saved.textContent !== text) saved.textContent = text
    saved.dataset.state = state
  }

  app.on("project", showProject)
  app.on("cases", showCases)
  app.on(["saving", "line"], showSaving)
  showTheme()
}
