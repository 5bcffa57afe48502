/** The list of places that `medcl suggest` wrote: load it, go through it, see what is left. */

import type { App } from "../app"
import type { ListedSuggestion } from "../net/types"
import { button, count, duration, fill, h } from "./dom"

export function makeList(app: App): HTMLElement {
  const file = h("input", { type: "file", accept: "application/json,.json", hidden: true, aria: { label: "List of medcl suggest" } })
  file.addEventListener("change", () => {
    const [chosen] = file.files ?? []
    file.value = "" // the same file may be chosen again
    if (chosen) void app.keepList(chosen)
  })
  const load = button("Load a list …", () => file.click(), { title: "suggestions.json, as medcl suggest writes it" })
  const forget = button("Forget", () => void app.forgetList(), { class: "quiet", title: "Take the list away from this page; its file stays" })
  const words = h("p", { class: "hint" })
  const places = h("ol", { class: "places", tabIndex: 0, aria: { label: "Places to draw at" } })

  function line(place: ListedSuggestion): HTMLElement {
    const here = app.suggestion
    const isHere = here !== null && here.case === place.case && here.slice === place.slice && here.class_index === place.class_index
    const cost = place.cost_s === null ? "" : `, ${duration(place.cost_s)}`
    const go = button(`${place.rank}. ${place.class_name}: ${place.case}, ${place.plane} slice ${place.slice + 1}${cost}`, () => void app.goTo(place), {
      class: place.drawn ? "place drawn" : "place",
      title: place.reason,
      aria: isHere ? { current: "true" } : {},
    })
    return h("li", { value: place.rank }, go, place.drawn && h("span", { class: "hint" }, " drawn"))
  }

  function show(): void {
    const { list } = app
    forget.hidden = list === null
    places.hidden = list === null || list.places.length === 0
    if (!list) {
      words.textContent = "medcl suggest writes a list of places for the minutes that you have; load it to go through it here."
      fill(places)
      return
    }
    const done = list.places.length - list.left
    words.textContent = list.left > 0
      ? `By ${list.strategy}: ${count(list.left, "place")} left, about ${duration(list.left_s)}; ${done} drawn.`
      : `By ${list.strategy}: all ${count(list.places.length, "place")} drawn. Train, and ask medcl suggest for the next list.`
    fill(places, ...list.places.map(line))
  }

  app.on(["list", "suggestion"], show)
  show()
  return h("details", { class: "list" }, h("summary", {}, "List of places"), h("div", { class: "buttons" }, load, forget, file), words, places)
}
