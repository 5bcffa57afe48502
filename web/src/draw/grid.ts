/** The view grid: voxel (i, j, k) has the number i + ni * (j + nj * k). Planes and their axes. */

import type { Plane, Triple } from "../net/types"

export interface Grid {
  size: Triple
  spacing: Triple
}

/** The axis that a plane's slices are counted along. */
export const DEPTH: Record<Plane, 0 | 1 | 2> = { sagittal: 0, coronal: 1, axial: 2 }

/** The two axes within a plane, lower first. */
export const WITHIN: Record<Plane, readonly [0 | 1 | 2, 0 | 1 | 2]> = {
  sagittal: [1, 2],
  coronal: [0, 2],
  axial: [0, 1],
}

export function voxelNumber(size: Triple, [i, j, k]: Triple): number {
  return i + size[0] * (j + size[1] * k)
}

export function voxelPlace(size: Triple, voxel: number): Triple {
  const i = voxel % size[0]
  const rest = (voxel - i) / size[0]
  const j = rest % size[1]
  return [i, j, (rest - j) / size[1]]
}

export function isInside(size: Triple, place: Triple): boolean {
  return place.every((at, axis) => at >= 0 && at < size[axis]!)
}

export function clampPlace(size: Triple, place: Triple): Triple {
  return place.map((at, axis) => Math.min(Math.max(Math.round(at), 0), size[axis]! - 1)) as Triple
}

export function voxelCount(size: Triple): number {
  return size[0] * size[1] * size[2]
}

/**
 * The plane people draw in: across an axis of a single voxel, else across the thickest slices if they are thicker by more than a
 * tenth, else axial. The same rule as `medcl.queries.places.drawing_axis`, which suggestions follow.
 */
export function drawingPlane({ size, spacing }: Grid): Plane {
  const planes: readonly Plane[] = ["axial", "coronal", "sagittal"]
  const flat = planes.find((plane) => size[DEPTH[plane]] === 1)
  if (flat) return flat
  const [thickest, next] = [...spacing].sort((a, b) => b - a) as Triple
  return thickest > 1.1 * next ? planes.find((plane) => spacing[DEPTH[plane]] === thickest)! : "axial"
}
