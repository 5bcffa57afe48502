/** The border of a mask in one slice, along the edges of voxels. */

import type { Plane, Triple } from "../net/types"
import { DEPTH, WITHIN } from "./grid"

/** Straight pieces [u0, v0, u1, v1] in the two axes of the plane, one list a class; voxel n covers n .. n + 1. */
export function outline(mask: Uint8Array, size: Triple, plane: Plane, slice: number): Map<number, number[]> {
  const [a, b] = WITHIN[plane]
  const stride = [1, size[0], size[0] * size[1]] as const
  const corner = slice * stride[DEPTH[plane]]
  const [nu, nv] = [size[a], size[b]]
  const at = (u: number, v: number): number =>
    u < 0 || v < 0 || u >= nu || v >= nv ? 0 : mask[corner + u * stride[a] + v * stride[b]]!
  const pieces = new Map<number, number[]>()
  const add = (value: number, u0: number, v0: number, u1: number, v1: number): void => {
    if (value === 0) return
    let list = pieces.get(value)
    if (!list) pieces.set(value, (list = []))
    list.push(u0, v0, u1, v1)
  }
  // Along each grid line neighbouring pieces of the same class join: fewer, longer strokes for the canvas.
  for (let v = 0; v <= nv; v++) sweep(nu, (u) => [at(u, v - 1), at(u, v)], (value, from, to) => add(value, from, v, to, v))
  for (let u = 0; u <= nu; u++) sweep(nv, (v) => [at(u - 1, v), at(u, v)], (value, from, to) => add(value, u, from, u, to))
  return pieces
}

function sweep(count: number, sides: (at: number) => [number, number], emit: (value: number, from: number, to: number) => void): void {
  const open: [value: number, from: number][] = [[0, 0], [0, 0]]
  for (let at = 0; at <= count; at++) {
    const [one, other] = at < count ? sides(at) : [0, 0]
    const now = one === other ? [0, 0] : [one, other]
    for (const side of [0, 1] as const) {
      const [value, from] = open[side]!
      if (now[side] !== value) {
        if (value !== 0) emit(value, from, at)
        open[side] = [now[side]!, at]
      }
    }
  }
}
