/**
 * NiiVue whose voxels get their colours from the processor. NiiVue itself sends the raw volume through the graphics card:
 * one pass for the colours and two for a gradient that only lighting in 3D needs, with a texture of its own for each. Where the
 * graphics card is a processor too (a remote desktop, a laptop without one) 512 x 512 x 200 voxels took 10 s per pass through all of it; a
 * table of colours and one upload take 0.3 s, and everywhere a third of the memory.
 */

import { NVImage, Niivue } from "@niivue/niivue"
import { sample } from "./windows"

/** Writes the pixels of the voxels from `start` on. */
type Fill = (into: Uint32Array, start: number) => void

const RGB = [128, 2304]
const INTENT_LABELS = 1002

/** NiiVue's own goes through every voxel twice, for a window that the page sets itself; a sample says as much. */
NVImage.prototype.calMinMax = function (this: NVImage): number[] {
  const { scl_slope: slope, scl_inter: intercept } = this.hdr!
  const sorted = sample(this.img ?? [], slope, intercept)
  const at = (share: number): number => sorted[Math.round(share * (sorted.length - 1))] ?? 0
  const [low, high, least, most] = [at(0.02), at(0.98), at(0), at(1)]
  this.cal_min = this.robust_min = low
  this.cal_max = this.robust_max = high
  this.global_min = least
  this.global_max = most
  return [low, high, least, most]
}

export class PaintedNiivue extends Niivue {
  private painted: readonly NVImage[] = []
  private imageLook = ""
  private overlayLook = ""

  override updateGLVolume(): void {
    const { volumes } = this
    if (volumes.length === 0 || !volumes.every((volume) => this.canPaint(volume, volumes[0]!))) {
      this.painted = []
      super.updateGLVolume()
      return
    }
    if (volumes.length !== this.painted.length || volumes.some((volume, at) => volume !== this.painted[at])) {
      withoutPasses(this.gl, () => super.updateGLVolume())
      this.painted = [...volumes]
      this.imageLook = this.overlayLook = ""
      this.allocate(this.gl.TEXTURE0, this.volumeTexture)
      if (volumes.length > 1) this.allocate(this.gl.TEXTURE2, this.overlayTexture)
    }
    const [image, ...overlays] = volumes as [NVImage, ...NVImage[]]
    const imageLook = `${image.cal_min} ${image.cal_max}`
    if (imageLook !== this.imageLook) {
      this.upload(this.gl.TEXTURE0, this.volumeTexture, shades(image, this.colormap("gray")))
      this.imageLook = imageLook
    }
    const overlayLook = overlays.map((overlay) => overlay.opacity).join(" ")
    if (overlays.length > 0 && overlayLook !== this.overlayLook) {
      this.upload(this.gl.TEXTURE2, this.overlayTexture, layers(overlays, (name) => this.colormap(name)))
      this.overlayLook = overlayLook
    }
    this.drawScene()
  }

  /** Scalar volumes in the image's own grid; overlays of bytes, two at most. NiiVue does the others its own way. */
  private canPaint(volume: NVImage, image: NVImage): boolean {
    const [hdr, grid] = [volume.hdr, image.hdr]
    if (!hdr || !grid || !volume.img || RGB.includes(hdr.datatypeCode) || this.volumes.length > 3) return false
    const size = [1, 2, 3].map((axis) => hdr.dims[axis]!)
    if (Math.max(...size) > (this.uiData.max3D ?? 2048) || isSmall(size[0]!, size[1]!, size[2]!)) return false
    if (volume.permRAS?.some((axis, at) => axis !== at + 1) || size.some((count, at) => count !== grid.dims[at + 1])) return false
    return volume === image || volume.img instanceof Uint8Array
  }

  private allocate(unit: number, texture: WebGLTexture | null): void {
    const { gl } = this
    const [, w, h, d] = this.volumes[0]!.hdr!.dims as [number, number, number, number]
    gl.activeTexture(unit)
    gl.bindTexture(gl.TEXTURE_3D, texture)
    gl.texStorage3D(gl.TEXTURE_3D, 1, gl.RGBA8, w, h, d)
  }

  /** Fill a texture slice by slice, so that no second copy of the volume is needed. */
  private upload(unit: number, texture: WebGLTexture | null, fill: Fill): void {
    const { gl } = this
    const [, w, h, d] = this.volumes[0]!.hdr!.dims as [number, number, number, number]
    const slice = new Uint32Array(w * h)
    const bytes = new Uint8Array(slice.buffer)
    gl.activeTexture(unit)
    gl.bindTexture(gl.TEXTURE_3D, texture)
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1)
    for (let z = 0; z < d; z++) {
      fill(slice, z * w * h)
      gl.texSubImage3D(gl.TEXTURE_3D, 0, 0, 0, z, w, h, 1, gl.RGBA, gl.UNSIGNED_BYTE, bytes)
    }
  }
}

/** Colours of a window of grey values; darker than the window is black, and transparent in 3D. */
export function shades(image: Pick<NVImage, "img" | "hdr" | "cal_min" | "cal_max">, map: ArrayLike<number>): Fill {
  const values = image.img!
  const { scl_slope: slope, scl_inter: intercept } = image.hdr!
  const low = Math.min(image.cal_min!, image.cal_max!)
  const scale = 256 / Math.max(1e-5, Math.abs(image.cal_max! - image.cal_min!))
  const table = new Uint32Array(256)
  for (let at = 0; at < 256; at++) table[at] = packed(map[4 * at]!, map[4 * at + 1]!, map[4 * at + 2]!, map[4 * at + 3]!)
  const factor = slope * scale
  const offset = (intercept - low) * scale
  // The first colour is for what is not above the window's lower end; NaN is not.
  const colour = (value: number): number => {
    const place = value * factor + offset
    return table[place > 0 ? (place < 2 ? 2 : place > 255 ? 255 : place | 0) : 0]!
  }
  if (values.BYTES_PER_ELEMENT > 2) {
    return (into, start) => {
      for (let at = 0; at < into.length; at++) into[at] = colour(values[start + at]!)
    }
  }
  // Whole numbers of two bytes at most: each is worked out once. A negative one lies where its bits say.
  const known = new Uint32Array(65536)
  const signed = values instanceof Int16Array
  for (let bits = 0; bits < 65536; bits++) known[bits] = colour(signed && bits > 32767 ? bits - 65536 : bits)
  return (into, start) => {
    for (let at = 0; at < into.length; at++) into[at] = known[values[start + at]! & 65535]!
  }
}

type Colour = readonly [number, number, number, number]

/** The colour of each byte of an overlay: red, green, blue 0..255, and what it hides 0..1. */
export function colours(overlay: NVImage, colormap: (name: string) => ArrayLike<number>): Colour[] {
  const label = overlay.hdr?.intent_code === INTENT_LABELS ? overlay.colormapLabel : null
  const map = label ? label.lut : colormap(overlay.colormap)
  const first = label?.min ?? 0
  return Array.from({ length: 256 }, (_, value): Colour => {
    const at = 4 * (value - first)
    if (value < first || at + 3 >= map.length) return [0, 0, 0, 0]
    return [map[at]!, map[at + 1]!, map[at + 2]!, (map[at + 3]! / 255) * overlay.opacity]
  })
}

/** Overlays over each other, the last one on top, in colours that are not premultiplied. */
export function layers(overlays: readonly NVImage[], colormap: (name: string) => ArrayLike<number>): Fill {
  const [below, above] = overlays.map((overlay) => overlay.img as Uint8Array)
  const [bottom, top] = overlays.map((overlay) => colours(overlay, colormap))
  const pairs = new Uint32Array(top ? 65536 : 256)
  for (let pair = 0; pair < pairs.length; pair++) pairs[pair] = over(top?.[pair >> 8] ?? [0, 0, 0, 0], bottom![pair & 255]!)
  return (into, start) => {
    for (let at = 0; at < into.length; at++) {
      const upper = above ? above[start + at]! << 8 : 0
      into[at] = pairs[upper | below![start + at]!]!
    }
  }
}

/** One colour over another (Porter and Duff, SIGGRAPH 1984, "over"), as the four bytes of a pixel. */
export function over(top: Colour, bottom: Colour): number {
  const alpha = top[3] + (1 - top[3]) * bottom[3]
  if (alpha <= 0) return 0
  const mix = (at: 0 | 1 | 2): number => (top[at] * top[3] + bottom[at] * bottom[3] * (1 - top[3])) / alpha
  return packed(mix(0), mix(1), mix(2), 255 * alpha)
}

function packed(red: number, green: number, blue: number, alpha: number): number {
  return ((Math.round(alpha) << 24) | (Math.round(blue) << 16) | (Math.round(green) << 8) | Math.round(red)) >>> 0
}

const isSmall = (w: number, h: number, d: number): boolean => w * h * d <= 8

/** Let NiiVue do its bookkeeping of layers and nothing on the graphics card but its placeholders of 2 x 2 x 2 voxels. */
function withoutPasses(gl: WebGL2RenderingContext, work: () => void): void {
  const own = gl as unknown as Record<string, unknown>
  const nothing = (): void => undefined
  const onlySmall = (name: "texStorage3D" | "texImage3D" | "texSubImage3D", at: number): void => {
    const real = gl[name] as (...values: unknown[]) => void
    own[name] = (...values: unknown[]): void => {
      const [w, h, d] = values.slice(at, at + 3) as [number, number, number]
      if (isSmall(w, h, d)) real.apply(gl, values)
    }
  }
  onlySmall("texStorage3D", 3)
  onlySmall("texImage3D", 3)
  onlySmall("texSubImage3D", 5)
  own["drawArrays"] = own["drawElements"] = nothing
  own["checkFramebufferStatus"] = (): number => gl.FRAMEBUFFER_COMPLETE
  try {
    work()
  } finally {
    for (const name of ["texStorage3D", "texImage3D", "texSubImage3D", "drawArrays", "drawElements", "checkFramebufferStatus"]) delete own[name]
  }
}
