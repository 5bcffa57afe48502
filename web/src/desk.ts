/** The case that lies open: its image, strokes, history and prediction, and what drawing on it does. */

import { enclosed, segment, tip } from "./draw/pen"
import { drawingPlane } from "./draw/grid"
import { toRedo, toUndo } from "./draw/history"
import { StrokeMap } from "./draw/map"
import { bytesOf } from "./draw/nifti"
import { countVoxels, eachVoxel, toRuns } from "./draw/runs"
import type { Viewer } from "./draw/viewer"
import { Emitter } from "./emitter"
import { api, Refused } from "./net/api"
import type { Drawn, Entry, Queue } from "./net/queue"
import type { CaseSummary, ClassInfo, Plane, Stroke, StrokeList, StrokeSaved, Tool, Triple } from "./net/types"
import type { Preferences } from "./preferences"

export type Hand = "look" | "pen" | "line" | "eraser" | "flood"

/** Pauses between strokes of one case up to this long count as time spent on it. */
const PAUSE_MS = 10_000

interface Started {
  tool: Exclude<Tool, "import">
  plane: Plane
  slice: number
  from: Triple
  at: number
  pen: readonly (readonly [number, number])[]
  voxels: Set<number>
}

/** What a case is shown from: its strokes as a list, its image, its strokes as a volume (null: nobody has ever drawn there). */
type Parts = [StrokeList, ArrayBuffer, ArrayBuffer | null]

export class Desk extends Emitter<"case" | "strokes" | "hand" | "prediction" | "busy"> {
  summary: CaseSummary | null = null
  channel = 0
  hand: Hand = "look"
  /** Class index of the pen. */
  value = 1
  history: Stroke[] = []
  mask: Uint8Array | null = null
  busy = ""
  say: (message: string) => void = () => undefined
  queue!: Queue
  classes: readonly ClassInfo[] = []
  author = ""
  private map: StrokeMap | null = null
  private started: Started | null = null
  private lastEnd = 0
  private stale = false
  /** Counts what was asked to be shown: cases and channels. */
  private asked = 0
  private refreshing = false
  private loading: AbortController | null = null
  private ahead: { id: string; loading: AbortController; parts: Promise<Parts> } | null = null
  private shownPrediction: { case: string; id: number; heat: boolean } | null = null

  constructor(
    readonly viewer: Viewer,
    readonly preferences: Preferences,
  ) {
    super()
  }

  get canDraw(): boolean {
    return this.summary?.can_draw === true && this.map !== null
  }

  get isFlat(): boolean {
    return this.summary?.size.includes(1) === true
  }

  // --- opening ---

  /** Have the volumes of a case sent before it is opened: while the page makes its shaders nothing else would be on its way. */
  fetchAhead(summary: CaseSummary): void {
    const loading = new AbortController()
    const parts = this.fetch(summary, loading.signal)
    parts.catch(() => undefined) // told when the case is opened
    this.ahead = { id: summary.id, loading, parts }
  }

  private fetch({ id, channels, version, state, can_draw }: CaseSummary, signal: AbortSignal): Promise<Parts> {
    const isBlank = version === 0 && state === "untouched" && can_draw
    return Promise.all([
      api.strokes(id),
      api.volume(id, `image.nii?channel=${Math.min(this.channel, channels - 1)}`, signal),
      isBlank ? null : api.volume(id, "scribble.nii", signal), // half as much again as the image, all of it zeros
    ])
  }

  async open(summary: CaseSummary, place?: Triple, plane?: Plane): Promise<void> {
    this.loading?.abort()
    this.asked++
    this.stale = false
    const ahead = this.ahead?.id === summary.id ? this.ahead : null
    if (!ahead) this.ahead?.loading.abort()
    this.ahead = null
    const loading = (this.loading = ahead?.loading ?? new AbortController())
    this.cancel()
    this.summary = summary
    this.map = null
    this.history = []
    this.mask = null
    this.shownPrediction = null
    this.channel = Math.min(this.channel, summary.channels - 1)
    this.setBusy(`Opening ${summary.id} ...`)
    this.emit("case", "strokes", "prediction")
    try {
      const [list, image, strokes] = await (ahead?.parts ?? this.fetch(summary, loading.signal))
      if (loading.signal.aborted) return
      await this.viewer.showImage(image, false)
      if (loading.signal.aborted) return
      const drawn = list.version > 0 ? (strokes ?? (await api.volume(summary.id, "scribble.nii", loading.signal))) : strokes
      if (loading.signal.aborted) return
      const { size } = this.viewer.grid!
      this.map = new StrokeMap(drawn ? bytesOf(drawn) : new Uint8Array(size[0] * size[1] * size[2]))
      this.history = list.strokes
      this.queue.seen(summary.id, list.version)
      for (const entry of this.queue.pending(summary.id)) this.replay(entry)
      this.viewer.setStrokes(this.map!.shown)
      this.applyLook()
      const own = drawingPlane(this.viewer.grid!)
      const { layout } = this.viewer
      if (this.isFlat) this.viewer.setLayout(own)
      else if (layout !== "multi" && layout !== "3d") this.viewer.setLayout(plane ?? own)
      if (place) this.viewer.goTo(place)
    } catch (error) {
      if (loading.signal.aborted) return
      this.map = null
      this.viewer.clear() // another case's picture must not stand under this one's name
      this.emit("prediction")
      this.setBusy(`${summary.id} cannot be shown. ${error instanceof Error ? error.message : String(error)}`)
      throw error
    }
    this.setBusy("")
    this.emit("case", "strokes")
    void this.refreshIfStale() // somebody drew while it was opened
    await this.loadPrediction()
  }

  /** Whether the case stands there, with its strokes. */
  get isShown(): boolean {
    return this.map !== null
  }

  /** What was drawn before the page was closed and is not saved yet. */
  private replay(entry: Entry): void {
    if (entry.kind === "draw") {
      this.map?.add({ id: entry.stroke.id, value: entry.stroke.value, runs: entry.stroke.runs, undone: false })
      if (!this.history.some((stroke) => stroke.id === entry.stroke.id)) this.history.push(asStroke(entry.stroke, entry.author))
    } else {
      if (this.map?.setUndone(entry.stroke.id, entry.kind === "undo") === null) this.stale = true
      this.mark(entry.stroke.id, entry.kind === "undo")
    }
  }

  async setChannel(channel: number): Promise<void> {
    const { summary, channel: before } = this
    if (!summary || channel === before) return
    const turn = ++this.asked
    this.channel = channel
    this.setBusy("Loading the channel ...")
    try {
      const buffer = await api.volume(summary.id, `image.nii?channel=${channel}`)
      if (turn !== this.asked) return // another case or channel was asked for since
      await this.viewer.showImage(buffer, true)
    } catch (error) {
      if (turn === this.asked) this.channel = before // what is on the screen
      throw error
    } finally {
      if (turn === this.asked) this.setBusy("")
    }
    this.emit("case")
  }

  private setBusy(what: string): void {
    this.busy = what
    this.emit("busy")
  }

  // --- strokes ---

  setHand(hand: Hand): void {
    this.end() // a stroke under way keeps the tool and pen that it began with
    this.hand = hand
    this.emit("hand")
  }

  setValue(value: number): void {
    if (!this.classes.some((one) => one.index === value)) return
    this.end()
    this.value = value
    if (this.hand === "look" || this.hand === "eraser") this.hand = "pen"
    this.emit("hand")
  }

  /** Put the pen down. False: nothing can be drawn here, and the user has been told why. */
  begin(plane: Plane, place: Triple): boolean {
    const grid = this.viewer.grid
    if (!grid || !this.summary || this.hand === "look") return false
    if (!this.canDraw) {
      this.say(`${this.summary.id} is not a training case: it takes no strokes.`)
      return false
    }
    if (!this.preferences.strokesShown) {
      this.preferences.strokesShown = true
      this.applyLook()
      this.emit("hand")
    }
    const slice = place[plane === "axial" ? 2 : plane === "coronal" ? 1 : 0]
    const voxels = new Set<number>()
    if (this.hand === "flood") {
      const found = enclosed(grid, plane, this.map!.shown, place)
      if (!found?.length) {
        this.say(found ? "Fill: click on a place without a stroke." : "Fill: nothing filled, the strokes around this place leave a gap.")
        return false
      }
      for (const voxel of found) voxels.add(voxel)
    }
    this.started = { tool: this.hand, plane, slice, from: place, at: performance.now(), pen: tip(grid, plane, this.preferences.width), voxels }
    if (this.hand === "flood") this.paint(voxels)
    else this.move(place)
    return true
  }

  get isDrawing(): boolean {
    return this.started !== null
  }

  /** Draw on to a place of the same slice. */
  move(place: Triple): void {
    const { started } = this
    const grid = this.viewer.grid
    if (!started || !grid || started.tool === "flood") return
    const touched = segment(grid, started.plane, started.pen, started.from, place)
    if (started.tool === "line") {
      this.unpaint(started.voxels)
      started.voxels = new Set(touched)
      this.paint(touched)
      return
    }
    const fresh = touched.filter((voxel) => !started.voxels.has(voxel))
    for (const voxel of fresh) started.voxels.add(voxel)
    started.from = place
    this.paint(fresh)
  }

  private paint(voxels: Iterable<number>): void {
    const shown = this.map!.shown
    const value = this.hand === "eraser" ? 0 : this.value + 1
    for (const voxel of voxels) shown[voxel] = value
    this.viewer.touched(voxels)
  }

  private unpaint(voxels: Set<number>): void {
    this.map!.replay(toRuns(voxels))
    this.viewer.touched(voxels)
  }

  /** Take the pen away without a stroke. */
  cancel(): void {
    if (this.started && this.map) this.unpaint(this.started.voxels)
    this.started = null
  }

  /** Lift the pen: the stroke is kept, and sent in the background. */
  end(): void {
    const { started, summary } = this
    this.started = null
    if (!started || !summary || started.voxels.size === 0) return
    const now = performance.now()
    const since = this.lastEnd > 0 && started.at - this.lastEnd < PAUSE_MS ? this.lastEnd : started.at
    this.lastEnd = now
    const stroke: Drawn = {
      id: newId(),
      tool: started.tool,
      value: started.tool === "eraser" ? null : this.value,
      plane: started.plane,
      slice: started.slice,
      width: this.preferences.width,
      seconds: Math.round(now - since) / 1000,
      on_prediction: this.preferences.maskShown && this.mask ? (summary.prediction?.id ?? null) : null,
      runs: toRuns(started.voxels),
    }
    this.map!.add({ id: stroke.id, value: stroke.value, runs: stroke.runs, undone: false })
    this.history.push(asStroke(stroke, this.author))
    this.queue.push({ case: summary.id, author: this.author, kind: "draw", stroke })
    this.emit("strokes")
  }

  get canUndo(): boolean {
    return toUndo(this.history, this.author) !== null
  }

  get canRedo(): boolean {
    return toRedo(this.history, this.author) !== null
  }

  undo(): void {
    this.turn("undo", toUndo(this.history, this.author))
  }

  redo(): void {
    this.turn("redo", toRedo(this.history, this.author))
  }

  private turn(kind: "undo" | "redo", stroke: Stroke | null): void {
    if (!stroke || !this.summary || !this.map) return
    this.cancel()
    this.mark(stroke.id, kind === "undo")
    const runs = this.map.setUndone(stroke.id, kind === "undo")
    if (runs) this.show(runs)
    else this.stale = true // drawn before this page was opened: the server shows what was under it
    this.queue.push({ case: this.summary.id, author: this.author, kind, stroke: { id: stroke.id } })
    this.emit("strokes")
  }

  private mark(id: string, undone: boolean): void {
    const stroke = this.history.find((one) => one.id === id)
    if (stroke) stroke.undone = undone
  }

  private show(runs: readonly number[]): void {
    const voxels: number[] = []
    eachVoxel(runs, (voxel) => voxels.push(voxel))
    this.viewer.touched(voxels)
  }

  // --- what the server says ---

  onSaved(entry: Entry, saved: StrokeSaved): void {
    if (entry.case !== this.summary?.id) return
    const at = this.history.findIndex((stroke) => stroke.id === saved.stroke.id)
    // Later entries of the queue may have undone it since; the page is ahead of the answer.
    if (at >= 0) this.history[at] = { ...saved.stroke, undone: this.history[at]!.undone }
    void this.refreshIfStale()
    this.emit("strokes")
  }

  onDropped(entry: Entry): void {
    if (entry.case !== this.summary?.id || !this.map) return
    if (entry.kind === "draw") {
      this.history = this.history.filter((stroke) => stroke.id !== entry.stroke.id)
      this.show(this.map.remove(entry.stroke.id))
    } else {
      this.mark(entry.stroke.id, entry.kind === "redo")
      const runs = this.map.setUndone(entry.stroke.id, entry.kind === "redo")
      if (runs) this.show(runs)
    }
    this.emit("strokes")
    this.markStale() // what others drew there may have come while this one waited
  }

  /** Somebody else may have changed this case: look as soon as nothing of ours is under way. */
  markStale(): void {
    this.stale = true
    void this.refreshIfStale()
  }

  private async refreshIfStale(): Promise<void> {
    const id = this.summary?.id
    if (!id || !this.map || !this.stale || this.refreshing || this.started || this.queue.pending(id).length > 0) return
    this.refreshing = true
    this.stale = false
    try {
      const before = this.queue.version(id)
      const list = await api.strokes(id)
      const buffer = await api.volume(id, "scribble.nii")
      if (this.summary?.id !== id || !this.map) return
      if (this.queue.pending(id).length > 0 || this.queue.version(id) !== before || this.started) {
        this.stale = true // drawn on meanwhile; the answer is old already
        window.setTimeout(() => void this.refreshIfStale(), 300)
        return
      }
      const known = new Set(list.strokes.map((stroke) => stroke.id))
      this.map.rebase(bytesOf(buffer), (stroke) => !known.has(stroke))
      this.history = list.strokes
      this.queue.seen(id, list.version)
      this.viewer.setStrokes(this.map.shown)
      this.emit("strokes")
      if (this.stale) window.setTimeout(() => void this.refreshIfStale(), 0) // others went on meanwhile
    } catch {
      this.stale = true // the server is away; the next event or stroke tries again
    } finally {
      this.refreshing = false
    }
  }

  async onSummary(summary: CaseSummary): Promise<void> {
    if (summary.id !== this.summary?.id) return
    this.summary = summary
    if (summary.version > this.queue.version(summary.id)) this.markStale()
    this.emit("case")
    await this.loadPrediction()
  }

  // --- prediction and look ---

  private async loadPrediction(): Promise<void> {
    const summary = this.summary
    const info = summary?.prediction
    if (!summary || !this.map) return
    const { maskShown, heatShown, fillOpacity, heatOpacity } = this.preferences
    if (!info) {
      if (this.mask) {
        this.mask = this.shownPrediction = null
        await this.viewer.setMask(null, this.classes, 0)
        await this.viewer.setHeat(null, 0)
        this.emit("prediction")
      }
      return
    }
    const shown = this.shownPrediction
    const isNew = shown?.case !== summary.id || shown.id !== info.id
    const needsHeat = heatShown && (isNew || !shown?.heat)
    if (!isNew && !needsHeat) return
    this.shownPrediction = { case: summary.id, id: info.id, heat: heatShown }
    try {
      if (isNew) {
        const buffer = await api.volume(summary.id, "prediction.nii")
        if (this.summary?.id !== summary.id) return
        this.mask = bytesOf(buffer).slice()
        await this.viewer.setMask(buffer, this.classes, maskShown ? fillOpacity : 0)
        if (!heatShown) await this.viewer.setHeat(null, 0)
      }
      if (needsHeat) {
        const buffer = await api.volume(summary.id, "uncertainty.nii")
        if (this.summary?.id !== summary.id) return
        await this.viewer.setHeat(buffer, heatOpacity)
      }
    } catch (error) {
      this.shownPrediction = null
      if (!(error instanceof Refused && error.status === 404)) throw error
    }
    this.emit("prediction")
    this.viewer.draw()
  }

  /** Bring preferences to the screen. */
  applyLook(): void {
    const { preferences, viewer } = this
    viewer.setStrokeOpacity(preferences.strokesShown ? preferences.strokeOpacity : 0)
    viewer.setOpacity("mask", preferences.maskShown ? preferences.fillOpacity : 0)
    viewer.setOpacity("heat", preferences.heatShown ? preferences.heatOpacity : 0)
    viewer.draw()
    void this.loadPrediction()
  }
}

function newId(): string {
  // crypto.randomUUID needs https or localhost; another host of a team may be plain http.
  const bytes = crypto.getRandomValues(new Uint8Array(16))
  bytes[6] = (bytes[6]! & 15) | 64
  bytes[8] = (bytes[8]! & 63) | 128
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("")
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-")
}

function asStroke(drawn: Drawn, author: string): Stroke {
  const { runs, ...rest } = drawn
  return { ...rest, author, at: new Date().toISOString(), voxels: countVoxels(runs), version: 0, undone: false }
}
