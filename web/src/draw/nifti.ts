/** The few words of a NIfTI-1 header that the page needs. The server sends single uncompressed files in the view grid. */

import type { Triple } from "../net/types"
import type { Grid } from "./grid"

export interface Header {
  grid: Grid
  /** NIfTI's code: 2 uint8, 4 int16, 16 float32, 128 RGB24. */
  datatype: number
  offset: number
  slope: number
  intercept: number
  /** Voxel (i, j, k) to millimetres, rows of the affine matrix. */
  affine: [number[], number[], number[]]
}

const LITTLE = true

export function readHeader(buffer: ArrayBuffer): Header {
  const view = new DataView(buffer)
  if (buffer.byteLength < 352 || view.getInt32(0, LITTLE) !== 348) throw new Error("The server sent something else than a NIfTI file.")
  const triple = (at: number, step: number, read: (at: number) => number): Triple => [read(at), read(at + step), read(at + 2 * step)]
  const float = (at: number): number => view.getFloat32(at, LITTLE)
  const row = (at: number): number[] => [0, 4, 8, 12].map((offset) => float(at + offset))
  return {
    grid: { size: triple(42, 2, (at) => Math.max(1, view.getInt16(at, LITTLE))), spacing: triple(80, 4, (at) => Math.abs(float(at)) || 1) },
    datatype: view.getInt16(70, LITTLE),
    offset: float(108),
    slope: float(112) || 1,
    intercept: float(116),
    affine: [row(280), row(296), row(312)],
  }
}

/**
 * Lay the axes of the grid along those of the patient, in place. The page shows the voxels that will be drawn on, never
 * resampled ones; with an oblique affine the viewer would cut across them. True places come from the header read before.
 */
export function straighten(buffer: ArrayBuffer, header: Header): void {
  const view = new DataView(buffer)
  view.setInt16(252, 0, LITTLE)
  view.setInt16(254, 1, LITTLE)
  view.setFloat32(76, 1, LITTLE)
  for (let row = 0; row < 3; row++) {
    for (let column = 0; column < 4; column++) {
      view.setFloat32(280 + 16 * row + 4 * column, row === column ? header.grid.spacing[row]! : 0, LITTLE)
    }
  }
}

/** A colour picture with a fourth, opaque channel: the only colour that the viewer takes beyond the size of 3D textures. */
export function withAlpha(buffer: ArrayBuffer, header: Header): ArrayBuffer {
  const pixels = header.grid.size[0] * header.grid.size[1] * header.grid.size[2]
  const from = new Uint8Array(buffer)
  const wide = new Uint8Array(header.offset + 4 * pixels).fill(255)
  wide.set(from.subarray(0, header.offset))
  for (let pixel = 0; pixel < pixels; pixel++) {
    const at = header.offset + 3 * pixel
    wide.set(from.subarray(at, at + 3), header.offset + 4 * pixel)
  }
  const view = new DataView(wide.buffer)
  view.setInt16(70, 2304, LITTLE)
  view.setInt16(72, 32, LITTLE)
  return wide.buffer
}

/** Millimetres of a voxel in the patient's own axes (R+, A+, S+). */
export function millimetres(header: Header, place: Triple): Triple {
  return header.affine.map((row) => row[0]! * place[0] + row[1]! * place[1] + row[2]! * place[2] + row[3]!) as Triple
}

/** The values of a map of bytes. */
export function bytesOf(buffer: ArrayBuffer): Uint8Array {
  const { datatype, offset, grid } = readHeader(buffer)
  if (datatype !== 2) throw new Error(`The server sent a map of NIfTI type ${datatype}; expected bytes.`)
  return new Uint8Array(buffer, offset, grid.size[0] * grid.size[1] * grid.size[2])
}
