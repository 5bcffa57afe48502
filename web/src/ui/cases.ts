/** The case list: pictures, states, search. Arrow keys go through it. */

import type { App } from "../app"
import type { CaseState, CaseSummary } from "../net/types"
import { byId, count, fill, h } from "./dom"

const WORDS: Record<CaseState, string> = {
  untouched: "untouched",
  strokes: "strokes",
  predicted: "predicted",
  reviewed: "reviewed",
  wrong: "marked wrong",
}
const SPLITS = { Tr: "", Val: "validation", Ts: "test" } as const

export function makeCases(app: App): void {
  const search = h("input", { type: "search", placeholder: "Search", aria: { label: "Search cases" }, autocomplete: "off" })
  const filter = h("select", { aria: { label: "Show cases of this state" } },
    h("option", { value: "" }, "All states"),
    ...(Object.keys(WORDS) as CaseState[]).map((state) => h("option", { value: state }, WORDS[state])))
  const list = h("ul", { class: "rows" })
  const found = h("p", { class: "found", role: "status" })
  const rows = new Map<string, { element: HTMLLIElement; shown: string }>()
  fill(byId("cases"), h("h2", {}, "Cases"), h("div", { class: "search" }, search, filter), found, list)

  function row(one: CaseSummary): HTMLLIElement {
    const known = rows.get(one.id)
    const open = app.desk.summary?.id === one.id
    const shown = JSON.stringify([one, open])
    if (known?.shown === shown) return known.element
    const picture = known?.element.querySelector("img") ?? h("img", { alt: "", loading: "lazy", width: 56, height: 56 })
    if (!picture.src.endsWith(one.thumbnail)) picture.src = one.thumbnail.replace(/^\//, "")
    const details = [
      one.strokes > 0 ? count(one.strokes, "stroke") : "",
      SPLITS[one.split],
      one.reviewed_by ? `by ${one.reviewed_by}` : "",
    ].filter(Boolean)
    const label = h("button", { type: "button", class: "row", ...(open ? { aria: { current: "true" } } : {}), on: { click: () => void app.open(one.id) } },
      picture,
      h("span", { class: "words" },
        h("span", { class: "id", title: one.id }, one.id),
        h("span", { class: `state ${one.state}` }, WORDS[one.state]),
        h("span", { class: "more" }, details.join(" · "))))
    const element = known?.element ?? h("li")
    const focused = element.contains(document.activeElement)
    fill(element, label)
    if (focused) label.focus()
    rows.set(one.id, { element, shown })
    return element
  }

  function show(): void {
    const wanted = search.value.trim().toLowerCase()
    const fitting = app.cases.filter((one) => one.id.toLowerCase().includes(wanted) && (!filter.value || one.state === filter.value))
    const elements = fitting.map(row)
    // Elements that stay are left in place, so that neither focus nor scroll position jumps.
    if (elements.length !== list.children.length || elements.some((element, at) => list.children[at] !== element)) list.replaceChildren(...elements)
    found.textContent = fitting.length === app.cases.length ? "" : `${fitting.length} of ${app.cases.length}`
  }

  list.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key]
    if (!step) return
    const all = [...list.querySelectorAll<HTMLButtonElement>("button")]
    all[all.indexOf(document.activeElement as HTMLButtonElement) + step]?.focus()
    event.preventDefault()
  })
  search.addEventListener("input", show)
  filter.addEventListener("change", show)
  app.on("cases", show)
  app.desk.on("case", show)
}
