/** Above and below the picture: which view, which grey values, which slice. */

import type { App } from "../app"
import { DEPTH } from "../draw/grid"
import { millimetres } from "../draw/nifti"
import type { Layout } from "../draw/viewer"
import { firstPreset, PRESETS, presetWindow } from "../draw/windows"
import type { CaseSummary, Plane } from "../net/types"
import { button, byId, fill, h } from "./dom"

const LAYOUTS: readonly (readonly [Layout, string, string])[] = [
  ["axial", "Axial", "A"],
  ["coronal", "Coronal", "C"],
  ["sagittal", "Sagittal", "S"],
  ["multi", "All", "M"],
  ["3d", "3D", "D"],
]

export interface View {
  setLayout: (layout: Layout) => void
  setWindow: (level: number, width: number) => void
}

export function makeView(app: App): View {
  const { desk } = app
  const { viewer } = desk
  const layouts = LAYOUTS.map(([layout, label, key]) => [layout, button(label, () => setLayout(layout), { key, title: layout === "multi" ? "All planes" : label, aria: { pressed: "false" } })] as const)
  const preset = h("select", { aria: { label: "Window: which grey values are shown" } })
  const low = h("input", { type: "number", aria: { label: "Darkest value" }, class: "value" })
  const high = h("input", { type: "number", aria: { label: "Brightest value" }, class: "value" })
  const channel = h("select", { aria: { label: "Channel" } })
  const windowing = h("span", { class: "group" }, preset, low, h("span", { aria: { hidden: "true" } }, "–"), high)
  const planes = h("span", { class: "group", role: "group", aria: { label: "Planes" } }, ...layouts.map(([, element]) => element))
  const zoom = h("span", { class: "group" },
    button("−", () => viewer.setZoom(viewer.zoom / 1.25, null, 0, 0), { title: "Zoom out", aria: { label: "Zoom out" }, key: "−" }),
    button("+", () => viewer.setZoom(viewer.zoom * 1.25, null, 0, 0), { title: "Zoom in", aria: { label: "Zoom in" }, key: "+" }),
    button("Fit", () => viewer.resetView(), { title: "Whole picture", key: "R" }))
  fill(byId("bar"), planes, windowing, channel, zoom)

  const slice = h("input", { type: "range", min: "1", step: "1", class: "slice", aria: { label: "Slice" } })
  const number = h("output", { class: "number" })
  const place = h("span", { class: "place" })
  const back = button("◀", () => viewer.step(viewer.plane, -1), { aria: { label: "Previous slice" }, title: "Previous slice (Page Down)" })
  const forth = button("▶", () => viewer.step(viewer.plane, 1), { aria: { label: "Next slice" }, title: "Next slice (Page Up)" })
  fill(byId("slices"), back, slice, forth, number, place)
  slice.addEventListener("input", () => {
    const at = [...viewer.place] as typeof viewer.place
    at[DEPTH[viewer.plane]] = Number(slice.value) - 1
    viewer.goTo(at)
  })

  function setLayout(layout: Layout): void {
    viewer.setLayout(layout)
    show()
  }

  const windows = new Map<string, { preset: string; min: number; max: number }>()
  const key = (): string => `${desk.summary?.id}/${desk.channel}`

  function setWindow(name: string, min: number, max: number): void {
    windows.set(key(), { preset: name, min, max })
    viewer.setWindow({ min, max })
    preset.value = name
    const digits = (value: number): string => Number(value.toPrecision(4)).toString()
    low.value = digits(min)
    high.value = digits(max)
  }

  /** The window that this picture had before, or begins with; colour pictures have none. */
  function firstWindow(): { preset: string; min: number; max: number } | null {
    const known = windows.get(key())
    if (known || desk.summary?.color !== false) return known ?? null
    const name = firstPreset(app.project.channels[desk.channel] ?? "", viewer.values)
    return { preset: name, ...presetWindow(PRESETS.find((one) => one.name === name)!, viewer.values) }
  }
  viewer.firstWindow = firstWindow

  function usePreset(name: string): void {
    const wanted = PRESETS.find((one) => one.name === name)
    if (!wanted) return
    const { min, max } = presetWindow(wanted, viewer.values)
    setWindow(name, min, max)
  }

  fill(preset, ...PRESETS.map((one) => h("option", { value: one.name }, one.label)), h("option", { value: "own" }, "Own window"))
  preset.addEventListener("change", () => usePreset(preset.value))
  for (const input of [low, high]) {
    input.addEventListener("change", () => {
      const [min, max] = [Number(low.value), Number(high.value)]
      if (Number.isFinite(min) && Number.isFinite(max) && max > min) setWindow("own", min, max)
      else app.say("The brightest value must be above the darkest.")
    })
  }
  channel.addEventListener("change", () => void app.attempt(desk.setChannel(Number(channel.value))))

  let shownCase: CaseSummary | null = null
  let shownKey = ""
  function show(): void {
    const { summary } = desk
    if (!summary || !viewer.grid) return
    if (shownKey !== key() && !desk.busy) {
      shownKey = key()
      const first = firstWindow()
      if (first) setWindow(first.preset, first.min, first.max)
    }
    if (summary.id !== shownCase?.id) {
      shownCase = summary
      fill(channel, ...Array.from({ length: summary.channels }, (_, at) => h("option", { value: String(at) }, app.project.channels[at] ?? `channel ${at + 1}`)))
    }
    channel.value = String(desk.channel)
    channel.hidden = summary.channels < 2 || summary.color
    windowing.hidden = summary.color
    planes.hidden = desk.isFlat
    byId("slices").classList.toggle("flat", desk.isFlat)
    for (const [layout, element] of layouts) element.setAttribute("aria-pressed", String(viewer.layout === layout))
    showPlace()
  }

  function showPlace(): void {
    const { header, plane } = viewer
    if (!header) return
    const axis = DEPTH[plane]
    const total = header.grid.size[axis]
    const at = viewer.place[axis] + 1
    slice.max = String(total)
    slice.value = String(at)
    slice.setAttribute("aria-valuetext", `${plane} slice ${at} of ${total}`)
    number.textContent = `${name(plane)} ${at} / ${total}`
    back.disabled = at <= 1
    forth.disabled = at >= total
    const mm = millimetres(header, viewer.place).map((value) => value.toFixed(1)).join(", ")
    place.textContent = desk.isFlat ? `pixel ${viewer.place[0]}, ${viewer.place[1]}` : `voxel ${viewer.place.join(", ")} · ${mm} mm`
  }

  viewer.onMoved = showPlace
  desk.on(["case", "busy"], show)
  app.on("project", show)

  return { setLayout, setWindow: (level, width) => setWindow("own", level - width / 2, level + width / 2) }
}

function name(plane: Plane): string {
  return plane[0]!.toUpperCase() + plane.slice(1)
}

/** Keys of the planes, for the list of shortcuts. */
export const LAYOUT_KEYS: ReadonlyMap<string, Layout> = new Map(LAYOUTS.map(([layout, , key]) => [key.toLowerCase(), layout]))
