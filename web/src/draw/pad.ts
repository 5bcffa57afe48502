/**
 * Pointer and keys over the picture. One finger or the main button does what the chosen tool does; two fingers, the middle button or
 * Alt move and zoom; the right button sets the window; the wheel goes through slices. Keys do all of it too: arrows move the
 * cursor, the space bar puts the pen down and lifts it.
 */

import type { Desk } from "../desk"
import type { Plane, Triple } from "../net/types"
import { DEPTH, isInside, WITHIN } from "./grid"
import type { Overlay } from "./overlay"
import type { Tile } from "./viewer"

type Gesture =
  | { kind: "draw"; tile: Tile; slice: number }
  | { kind: "look"; tile: Tile }
  | { kind: "pan"; tile: Tile | null; last: [number, number] }
  | { kind: "window"; last: [number, number] }
  | { kind: "pinch"; tile: Tile | null; last: [number, number]; gap: number }
  | { kind: "rotate"; last: [number, number] }

const ARROWS: Record<string, [number, number]> = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }
/** Wheel ticks of touch pads come in many small pieces; this many pixels are a slice. */
const WHEEL_PIXELS = 40

export class Pad {
  private pointers = new Map<number, [number, number]>()
  private gesture: Gesture | null = null
  private wheel = 0
  private penDown = false
  onWindow: (level: number, width: number) => void = () => undefined

  constructor(
    private readonly element: HTMLElement,
    private readonly desk: Desk,
    private readonly overlay: Overlay,
  ) {
    element.addEventListener("pointerdown", (event) => this.down(event))
    element.addEventListener("pointermove", (event) => this.move(event))
    element.addEventListener("pointerup", (event) => this.up(event, true))
    element.addEventListener("pointercancel", (event) => this.up(event, false))
    element.addEventListener("pointerleave", () => this.overlay.setTip(null))
    element.addEventListener("contextmenu", (event) => event.preventDefault())
    element.addEventListener("wheel", (event) => this.roll(event), { passive: false })
    element.addEventListener("keydown", (event) => this.key(event))
    element.addEventListener("blur", () => this.liftPen())
  }

  private at(event: MouseEvent): [number, number] {
    const box = this.element.getBoundingClientRect()
    return [event.clientX - box.left, event.clientY - box.top]
  }

  private down(event: PointerEvent): void {
    const { viewer } = this.desk
    if (!viewer.grid) return
    this.element.focus({ preventScroll: true })
    this.liftPen()
    this.overlay.byKeys = false
    const point = this.at(event)
    this.pointers.set(event.pointerId, point)
    this.element.setPointerCapture(event.pointerId)
    event.preventDefault()
    const tile = viewer.tileAt(...point)
    if (this.pointers.size === 2) {
      this.desk.cancel() // a second finger: the first was not meant to draw
      const [one, two] = [...this.pointers.values()] as [[number, number], [number, number]]
      this.gesture = { kind: "pinch", tile: viewer.tileAt(...middle(one, two)), last: middle(one, two), gap: distance(one, two) }
      return
    }
    if (this.pointers.size > 2) return
    if (event.button === 1 || (event.button === 0 && event.altKey)) this.gesture = { kind: "pan", tile, last: point }
    else if (event.button === 2) this.gesture = { kind: "window", last: point }
    else if (event.button !== 0) this.gesture = null
    else if (!tile) this.gesture = { kind: "rotate", last: point }
    else if (this.desk.hand === "look" || event.shiftKey) {
      this.gesture = { kind: "look", tile }
      viewer.goTo(viewer.voxelAt(tile, ...point))
    } else this.startDrawing(tile, point)
  }

  private startDrawing(tile: Tile, point: [number, number]): void {
    const { viewer } = this.desk
    const place = viewer.voxelAt(tile, ...point)
    this.gesture = null
    if (!isInside(viewer.grid!.size, place)) return
    if (this.desk.begin(tile.plane, place)) this.gesture = { kind: "draw", tile, slice: place[DEPTH[tile.plane]] }
  }

  private move(event: PointerEvent): void {
    const { viewer } = this.desk
    const point = this.at(event)
    if (!this.pointers.has(event.pointerId)) {
      this.hover(point, event.pointerType)
      return
    }
    this.pointers.set(event.pointerId, point)
    const { gesture } = this
    if (!gesture) return
    if (gesture.kind === "draw") {
      // Browsers join moves of a frame into one event; a quick curve would become straight lines.
      const moves = event.getCoalescedEvents?.() ?? []
      for (const one of moves.length > 0 ? moves : [event]) {
        const place = viewer.voxelAt(gesture.tile, ...this.at(one))
        place[DEPTH[gesture.tile.plane]] = gesture.slice
        this.desk.move(place)
      }
      this.hover(point, event.pointerType)
    } else if (gesture.kind === "look") viewer.goTo(viewer.voxelAt(gesture.tile, ...point))
    else if (gesture.kind === "pan") {
      if (gesture.tile) viewer.pan(gesture.tile, gesture.last, point)
      gesture.last = point
    } else if (gesture.kind === "window") {
      const { min, max } = viewer.window
      const scale = Math.max((viewer.values.at(-1) ?? 1) - (viewer.values[0] ?? 0), 1e-6) / 600
      const width = Math.max(max - min + (point[0] - gesture.last[0]) * scale, scale)
      const level = (max + min) / 2 - (point[1] - gesture.last[1]) * scale
      gesture.last = point
      this.onWindow(level, width)
    } else if (gesture.kind === "rotate") {
      viewer.rotate(point[0] - gesture.last[0], point[1] - gesture.last[1])
      gesture.last = point
    } else this.pinch(gesture)
  }

  private pinch(gesture: Extract<Gesture, { kind: "pinch" }>): void {
    const { viewer } = this.desk
    const [one, two] = [...this.pointers.values()] as [[number, number], [number, number]]
    const [now, gap] = [middle(one, two), distance(one, two)]
    if (gesture.tile) {
      viewer.pan(gesture.tile, gesture.last, now)
      viewer.drawNow()
    }
    const tile = viewer.tileAt(...now)
    viewer.setZoom((viewer.zoom * gap) / Math.max(gesture.gap, 1), tile, ...now)
    gesture.last = now
    gesture.gap = gap
  }

  private up(event: PointerEvent, keep: boolean): void {
    if (!this.pointers.delete(event.pointerId)) return
    if (this.gesture?.kind === "draw") {
      if (keep) this.desk.end()
      else this.desk.cancel()
    }
    if (this.pointers.size === 0 || this.gesture?.kind === "pinch") this.gesture = null
  }

  private hover(point: [number, number], pointerType: string): void {
    this.overlay.byKeys = false
    this.overlay.setTip(pointerType === "touch" || this.desk.hand === "look" ? null : point)
  }

  private roll(event: WheelEvent): void {
    const { viewer } = this.desk
    if (!viewer.grid) return
    event.preventDefault()
    const point = this.at(event)
    const tile = viewer.tileAt(...point)
    const pixels = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? event.deltaY * WHEEL_PIXELS : event.deltaY
    if (event.ctrlKey || event.metaKey || !tile || this.desk.isFlat) {
      viewer.setZoom(viewer.zoom * Math.exp(-pixels / 400), tile, ...point)
      return
    }
    if (this.desk.isDrawing) return
    this.wheel += pixels
    const steps = Math.trunc(this.wheel / WHEEL_PIXELS)
    this.wheel -= steps * WHEEL_PIXELS
    if (steps !== 0) viewer.step(tile.plane, -steps)
  }

  // --- keys ---

  /** The plane that keys work in, and its tile. */
  private focus(): { plane: Plane; tile: Tile } | null {
    const { viewer } = this.desk
    const tile = viewer.tiles().find((one) => one.plane === viewer.plane)
    return tile ? { plane: viewer.plane, tile } : null
  }

  private key(event: KeyboardEvent): void {
    const { viewer } = this.desk
    if (!viewer.grid || event.ctrlKey || event.metaKey || event.altKey) return
    const arrow = ARROWS[event.key]
    if (arrow || event.key === " ") {
      this.overlay.byKeys = true
      this.overlay.setTip(null)
    }
    const focus = this.focus()
    if (arrow && !focus) viewer.rotate(arrow[0] * 10, arrow[1] * 10)
    else if (arrow && focus) this.walk(focus.plane, focus.tile, arrow, event.shiftKey ? 10 : 1)
    else if (event.key === " " && focus) this.togglePen(focus.plane)
    else if (event.key === "Enter" && this.isPenDown) this.liftPen()
    else if (event.key === "Escape" && this.desk.isDrawing) {
      this.desk.cancel()
      this.penDown = false
      this.desk.say("Stroke given up.")
    } else if (event.key === "PageUp" || event.key === "PageDown") {
      this.liftPen()
      viewer.step(viewer.plane, event.key === "PageUp" ? 1 : -1)
    } else if (event.key === "Home" || event.key === "End") {
      this.liftPen()
      viewer.step(viewer.plane, event.key === "Home" ? -Infinity : Infinity)
    } else if (event.key === "+" || event.key === "=") viewer.setZoom(viewer.zoom * 1.25, focus?.tile ?? null, ...this.cursor(focus?.tile))
    else if (event.key === "-") viewer.setZoom(viewer.zoom / 1.25, focus?.tile ?? null, ...this.cursor(focus?.tile))
    else return
    event.preventDefault()
    event.stopPropagation()
  }

  private cursor(tile: Tile | undefined): [number, number] {
    if (!tile) return [0, 0]
    const { viewer } = this.desk
    const [a, b] = WITHIN[tile.plane]
    return viewer.screenAt(tile, viewer.place[a] + 0.5, viewer.place[b] + 0.5)
  }

  /** Move the cursor by what looks like left, right, up or down on screen. */
  private walk(plane: Plane, tile: Tile, [x, y]: [number, number], by: number): void {
    const { viewer } = this.desk
    const [a, b] = WITHIN[plane]
    const place: Triple = [...viewer.place]
    place[a] += x * Math.sign(tile.step[0]) * by
    place[b] += y * Math.sign(tile.step[1]) * by
    viewer.goTo(place)
    if (this.isPenDown) this.desk.move(viewer.place)
  }

  private togglePen(plane: Plane): void {
    const { desk } = this
    if (this.isPenDown) {
      this.liftPen()
      return
    }
    if (desk.hand === "look") {
      desk.say("Choose a pen first: keys 0 to 9, or L for a line, E for the eraser.")
      return
    }
    this.penDown = desk.begin(plane, desk.viewer.place)
    if (this.penDown && desk.hand === "flood") this.liftPen()
    else if (this.penDown) desk.say("Pen down. Arrows draw; space bar lifts the pen.")
  }

  /** Another pen or tool ends a stroke: then the pen is up, too. */
  private get isPenDown(): boolean {
    return this.penDown && this.desk.isDrawing
  }

  private liftPen(): void {
    if (!this.penDown) return
    this.penDown = false
    if (!this.desk.isDrawing) return
    this.desk.end()
    this.desk.viewer.draw()
    this.desk.say("Pen up.")
  }
}

function middle(one: [number, number], two: [number, number]): [number, number] {
  return [(one[0] + two[0]) / 2, (one[1] + two[1]) / 2]
}

function distance(one: [number, number], two: [number, number]): number {
  return Math.hypot(one[0] - two[0], one[1] - two[1])
}
