/** Pens, tools, undo: the first part of the tool column, and the legend at the same time. */

import type { App } from "../app"
import type { Hand } from "../desk"
import { button, checkbox, count, fill, h, section, slider } from "./dom"

const HANDS: readonly (readonly [Hand, string, string, string])[] = [
  ["look", "Look", "V", "Move the cursor, draw nothing"],
  ["pen", "Pen", "P", "Draw freely"],
  ["line", "Line", "L", "Straight line"],
  ["eraser", "Erase", "E", "Take strokes away"],
  ["flood", "Fill", "F", "Fill a place that strokes enclose"],
]

export function makeDraw(app: App): HTMLElement {
  const { desk, preferences } = app
  const pens = h("div", { class: "pens", role: "radiogroup", aria: { label: "Pen" } })
  const hands = HANDS.map(([hand, label, key, title]) => [hand, button(label, () => desk.setHand(hand), { key, title, aria: { pressed: "false" } })] as const)
  const undo = button("↶ Undo", () => desk.undo(), { key: "Z" })
  const redo = button("↷ Redo", () => desk.redo(), { key: "Y" })
  const width = slider("Width", { min: 1, max: 40, step: 1 }, (value) => `${value} px`, (value) => app.setPreferences({ width: value }))
  const shown = checkbox("Show strokes (H)", (on) => {
    app.setPreferences({ strokesShown: on })
    desk.applyLook()
  })
  const opacity = slider("Opacity", { min: 0.1, max: 1, step: 0.05 }, (value) => `${Math.round(value * 100)} %`, (value) => {
    app.setPreferences({ strokeOpacity: value })
    desk.applyLook()
  })
  const allowFill = checkbox("Allow filling", (on) => {
    app.setPreferences({ allowFill: on })
    if (!on && desk.hand === "flood") desk.setHand("pen")
    show()
  }, "Filled places count as strokes. Fill only what you would have stroked: every voxel is taken as true.")
  const where = h("p", { class: "hint" })

  function penButtons(): void {
    fill(pens, ...app.project.classes.map((one) => {
      const input = h("input", { type: "radio", name: "pen", value: String(one.index), on: { change: () => desk.setValue(one.index) } })
      const swatch = h("span", { class: "swatch" })
      swatch.style.backgroundColor = one.color
      const key = one.index < 10 ? h("kbd", {}, String(one.index)) : null
      return h("label", { class: "pen", data: { value: String(one.index) } }, input, swatch, h("span", { class: "name" }, one.name), h("span", { class: "drawn" }), key)
    }))
    show()
  }

  function show(): void {
    for (const label of pens.querySelectorAll<HTMLLabelElement>("label.pen")) {
      const value = Number(label.dataset.value)
      const drawn = desk.summary?.drawn[String(value)] ?? 0
      label.querySelector("input")!.checked = value === desk.value
      label.querySelector(".drawn")!.textContent = drawn > 0 ? drawn.toLocaleString("en") : ""
      label.title = drawn > 0 ? `${count(drawn, "stroked voxel")} in this case` : "Nothing drawn in this case yet"
    }
    for (const [hand, element] of hands) {
      element.setAttribute("aria-pressed", String(desk.hand === hand))
      if (hand === "flood") element.hidden = !preferences.allowFill
    }
    undo.disabled = !desk.canUndo
    redo.disabled = !desk.canRedo
    width.set(preferences.width)
    shown.set(preferences.strokesShown)
    opacity.set(preferences.strokeOpacity)
    allowFill.set(preferences.allowFill)
    where.textContent = desk.summary && !desk.summary.can_draw ? "This is a case for validation or test: it takes no strokes." : ""
  }

  desk.on(["case", "strokes", "hand"], show)
  app.on("project", penButtons)
  return section("Draw", true, where, pens,
    h("div", { class: "buttons hands", role: "group", aria: { label: "Tool" } }, ...hands.map(([, element]) => element)),
    h("div", { class: "buttons" }, undo, redo),
    width.element, opacity.element,
    h("div", { class: "checks" }, shown.element, allowFill.element))
}
