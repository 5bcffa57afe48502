/** Lines over the picture: the outline of the prediction, the tip of the pen, and the place to look at. */

import type { Desk } from "../desk"
import type { Triple } from "../net/types"
import { DEPTH, WITHIN } from "./grid"
import { outline } from "./outline"
import { tip } from "./pen"
import type { Tile } from "./viewer"

export class Overlay {
  private readonly context: CanvasRenderingContext2D
  private tip: readonly [x: number, y: number] | null = null
  private known = new Map<string, Map<number, number[]>>()
  private knownMask: Uint8Array | null = null
  /** Where the next stroke is asked for. */
  target: Triple | null = null
  targetCase = ""

  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly desk: Desk,
  ) {
    this.context = canvas.getContext("2d")!
  }

  /** Whether keys move the pen: then its tip is shown at the cursor. */
  byKeys = false

  setTip(point: readonly [x: number, y: number] | null): void {
    if (!point && !this.tip) return
    this.tip = point
    this.draw()
  }

  draw(): void {
    const { canvas, context, desk } = this
    const ratio = window.devicePixelRatio || 1
    const [width, height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)]
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height]
    context.setTransform(ratio, 0, 0, ratio, 0, 0)
    context.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight)
    if (!desk.viewer.grid) return
    for (const tile of desk.viewer.tiles()) {
      context.save()
      context.beginPath()
      context.rect(...tile.box)
      context.clip()
      this.drawCursor(tile)
      if (desk.preferences.maskShown && desk.preferences.outline && desk.mask) this.drawOutline(tile, desk.mask)
      if (this.target && this.targetCase === desk.summary?.id) this.drawTarget(tile, this.target)
      context.restore()
    }
    if (this.tip) {
      const tile = desk.viewer.tileAt(...this.tip)
      if (tile) this.drawTip(tile, desk.viewer.voxelAt(tile, ...this.tip))
    } else if (this.byKeys) {
      const tile = desk.viewer.tiles().find((one) => one.plane === desk.viewer.plane)
      if (tile) this.drawTip(tile, desk.viewer.place)
    }
  }

  /** Lines through the cursor that leave the place itself free. */
  private drawCursor(tile: Tile): void {
    const { context, desk } = this
    if (desk.isFlat && !this.byKeys) return
    const [a, b] = WITHIN[tile.plane]
    const { place } = desk.viewer
    const [x, y] = desk.viewer.screenAt(tile, place[a] + 0.5, place[b] + 0.5)
    const [left, top, width, height] = tile.box
    const gap = 18
    context.beginPath()
    for (const [x0, y0, x1, y1] of [[left, y, x - gap, y], [x + gap, y, left + width, y], [x, top, x, y - gap], [x, y + gap, x, top + height]] as const) {
      context.moveTo(x0, y0)
      context.lineTo(x1, y1)
    }
    context.lineWidth = 1
    context.strokeStyle = "rgba(120,190,255,0.6)"
    context.stroke()
  }

  private pieces(tile: Tile, mask: Uint8Array): Map<number, number[]> {
    const { grid, place } = this.desk.viewer
    if (mask !== this.knownMask || this.known.size > 24) {
      this.known.clear()
      this.knownMask = mask
    }
    const slice = place[DEPTH[tile.plane]]
    const key = `${tile.plane}${slice}`
    let pieces = this.known.get(key)
    if (!pieces) this.known.set(key, (pieces = outline(mask, grid!.size, tile.plane, slice)))
    return pieces
  }

  private drawOutline(tile: Tile, mask: Uint8Array): void {
    const { context, desk } = this
    const all = this.pieces(tile, mask)
    const trace = (pieces: number[]): void => {
      context.beginPath()
      for (let at = 0; at < pieces.length; at += 4) {
        context.moveTo(...desk.viewer.screenAt(tile, pieces[at]!, pieces[at + 1]!))
        context.lineTo(...desk.viewer.screenAt(tile, pieces[at + 2]!, pieces[at + 3]!))
      }
      context.stroke()
    }
    context.lineCap = "square"
    // A dark line under the coloured one: to be seen on bright and dark tissue alike.
    context.lineWidth = 3.5
    context.strokeStyle = "rgba(0,0,0,0.55)"
    for (const pieces of all.values()) trace(pieces)
    context.lineWidth = 1.75
    for (const [value, pieces] of all) {
      context.strokeStyle = desk.classes.find((one) => one.index === value)?.color ?? "#ffffff"
      trace(pieces)
    }
  }

  private drawTarget(tile: Tile, target: Triple): void {
    const { context, desk } = this
    const depth = DEPTH[tile.plane]
    if (desk.viewer.place[depth] !== target[depth]) return
    const [a, b] = WITHIN[tile.plane]
    const [x, y] = desk.viewer.screenAt(tile, target[a] + 0.5, target[b] + 0.5)
    for (const [width, color] of [[5, "rgba(0,0,0,0.7)"], [2.5, "#ffffff"]] as const) {
      context.lineWidth = width
      context.strokeStyle = color
      context.setLineDash([7, 5])
      context.beginPath()
      context.arc(x, y, 26, 0, 2 * Math.PI)
      context.stroke()
    }
    context.setLineDash([])
  }

  private drawTip(tile: Tile, place: Triple): void {
    const { context, desk } = this
    const { viewer, hand, preferences, classes, value } = desk
    if (hand === "look" || !viewer.grid) return
    const [a, b] = WITHIN[tile.plane]
    const offsets = hand === "flood" ? [[0, 0] as const] : tip(viewer.grid, tile.plane, preferences.width)
    const mask = new Set(offsets.map(([u, v]) => `${u},${v}`))
    context.beginPath()
    for (const [u, v] of offsets) {
      const edges = [[u - 1, v, 0, 0, 0, 1], [u + 1, v, 1, 0, 1, 1], [u, v - 1, 0, 0, 1, 0], [u, v + 1, 0, 1, 1, 1]] as const
      for (const [nu, nv, u0, v0, u1, v1] of edges) {
        if (mask.has(`${nu},${nv}`)) continue
        context.moveTo(...viewer.screenAt(tile, place[a] + u + u0, place[b] + v + v0))
        context.lineTo(...viewer.screenAt(tile, place[a] + u + u1, place[b] + v + v1))
      }
    }
    context.lineWidth = 3
    context.strokeStyle = "rgba(0,0,0,0.7)"
    context.stroke()
    context.lineWidth = 1.5
    context.strokeStyle = hand === "eraser" ? "#ffffff" : (classes.find((one) => one.index === value)?.color ?? "#ffffff")
    context.stroke()
  }
}
