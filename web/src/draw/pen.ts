/** Which voxels a pen touches. All in one slice of one plane; nothing here knows about the screen. */

import type { Plane, Triple } from "../net/types"
import { DEPTH, type Grid, isInside, voxelNumber, WITHIN } from "./grid"

type Offset = readonly [number, number]

/**
 * Offsets of a round pen in the two axes of a plane. Its diameter is `width` times the finer of the two spacings, so that it
 * looks round on screen however thick the slices are; the voxel under its tip always belongs to it.
 */
export function tip(grid: Grid, plane: Plane, width: number): Offset[] {
  const [a, b] = WITHIN[plane]
  const fine = Math.min(grid.spacing[a], grid.spacing[b])
  const [stepA, stepB] = [grid.spacing[a] / fine, grid.spacing[b] / fine]
  const radius = width / 2
  const offsets: Offset[] = []
  for (let v = -Math.ceil(radius / stepB); v <= Math.ceil(radius / stepB); v++) {
    for (let u = -Math.ceil(radius / stepA); u <= Math.ceil(radius / stepA); u++) {
      const inside = (u * stepA) ** 2 + (v * stepB) ** 2 < radius ** 2
      if (inside || (u === 0 && v === 0)) offsets.push([u, v])
    }
  }
  return offsets
}

/** Voxels touched by a pen that goes straight from one place to another in the same slice (8-connected). */
export function segment(grid: Grid, plane: Plane, pen: readonly Offset[], from: Triple, to: Triple): number[] {
  const [a, b] = WITHIN[plane]
  const depth = DEPTH[plane]
  const steps = Math.max(Math.abs(to[a] - from[a]), Math.abs(to[b] - from[b]), 1)
  const touched: number[] = []
  for (let step = 0; step <= steps; step++) {
    const u = Math.round(from[a] + ((to[a] - from[a]) * step) / steps)
    const v = Math.round(from[b] + ((to[b] - from[b]) * step) / steps)
    for (const [du, dv] of pen) {
      const place: Triple = [0, 0, 0]
      place[a] = u + du
      place[b] = v + dv
      place[depth] = to[depth]
      if (isInside(grid.size, place)) touched.push(voxelNumber(grid.size, place))
    }
  }
  return touched
}

/**
 * Voxels without a stroke around a place, within its slice, that strokes enclose (4-connected). Null when they reach the edge
 * of the slice: then the outline has a gap and filling it would draw where nobody looked.
 */
export function enclosed(grid: Grid, plane: Plane, drawn: Uint8Array, place: Triple): number[] | null {
  const [a, b] = WITHIN[plane]
  const { size } = grid
  const start = voxelNumber(size, place)
  if (!isInside(size, place) || drawn[start] !== 0) return []
  const stride = [1, size[0], size[0] * size[1]] as const
  const found = [start]
  const seen = new Set(found)
  const corner = start - place[a] * stride[a] - place[b] * stride[b]
  for (let at = 0; at < found.length; at++) {
    const within = found[at]! - corner
    const u = Math.floor(within / stride[a]) % size[a]
    const v = Math.floor(within / stride[b]) % size[b]
    if (u === 0 || v === 0 || u === size[a] - 1 || v === size[b] - 1) return null
    for (const step of [stride[a], -stride[a], stride[b], -stride[b]]) {
      const next = found[at]! + step
      if (drawn[next] === 0 && !seen.has(next)) {
        seen.add(next)
        found.push(next)
      }
    }
  }
  return found
}
