/**
 * The stroke map of a case as the page shows it: what the server last sent, with the strokes since then on top. A byte a voxel:
 * 0 where nothing is drawn, class index + 1 elsewhere (so 1 is background: unlabelled is not background).
 */

import { eachVoxel } from "./runs"

export interface Layer {
  id: string
  /** Class index; null takes strokes away. */
  value: number | null
  runs: readonly number[]
  undone: boolean
}

export function code(value: number | null): number {
  return value === null ? 0 : value + 1
}

export class StrokeMap {
  /** What is to be seen now. Whoever shows it may hold on to it: it stays the same array. */
  readonly shown: Uint8Array
  private base: Uint8Array
  private layers: Layer[] = []

  constructor(base: Uint8Array) {
    this.base = base
    this.shown = base.slice()
  }

  has(id: string): boolean {
    return this.layers.some((layer) => layer.id === id)
  }

  /** Put a stroke on top. */
  add(layer: Layer): void {
    this.layers.push(layer)
    if (layer.undone) return
    const value = code(layer.value)
    eachVoxel(layer.runs, (voxel) => {
      this.shown[voxel] = value
    })
  }

  /**
   * Take a stroke away or bring it back. Returns the runs that may have changed, or null when the stroke lies in the base: then
   * only the server can tell what was under it.
   */
  setUndone(id: string, undone: boolean): readonly number[] | null {
    const layer = this.layers.find((one) => one.id === id)
    if (!layer) return null
    layer.undone = undone
    this.replay(layer.runs)
    return layer.runs
  }

  /** Forget a stroke that was never saved. */
  remove(id: string): readonly number[] {
    const layer = this.layers.find((one) => one.id === id)
    if (!layer) return []
    this.layers = this.layers.filter((one) => one !== layer)
    this.replay(layer.runs)
    return layer.runs
  }

  /** A newer map from the server; `keep` tells which strokes it does not hold yet. */
  rebase(base: Uint8Array, keep: (id: string) => boolean): void {
    this.base = base
    this.shown.set(base)
    const layers = this.layers.filter((layer) => keep(layer.id))
    this.layers = []
    for (const layer of layers) this.add(layer)
  }

  /** Put voxels back to what base and layers say. */
  replay(runs: readonly number[]): void {
    eachVoxel(runs, (voxel) => {
      this.shown[voxel] = this.base[voxel]!
    })
    const wanted = new Set<number>()
    eachVoxel(runs, (voxel) => wanted.add(voxel))
    for (const layer of this.layers) {
      if (layer.undone) continue
      const value = code(layer.value)
      eachVoxel(layer.runs, (voxel) => {
        if (wanted.has(voxel)) this.shown[voxel] = value
      })
    }
  }
}
