/**
 * What is seen: NiiVue with an image, the stroke map as its drawing, and a prediction and its uncertainty as overlays. NiiVue's own
 * mouse and pen are off: `pad.ts` takes every pointer and key alike and this class says which voxel lies where.
 */

import { cmapper, MULTIPLANAR_TYPE, NVImage, SHOW_RENDER, SLICE_TYPE } from "@niivue/niivue"
import type { ClassInfo, Plane, Triple } from "../net/types"
import { clampPlace, DEPTH, drawingPlane, type Grid, voxelPlace, WITHIN } from "./grid"
import { type Header, readHeader, straighten, withAlpha } from "./nifti"
import { PaintedNiivue } from "./painted"
import { sample, type Window } from "./windows"

export type Layout = Plane | "multi" | "3d"

export interface Tile {
  plane: Plane
  /** Left, top, width, height in CSS pixels of the canvas. */
  box: [number, number, number, number]
  /** Voxel coordinates (voxel n covers n .. n + 1) along the plane's first axis: origin + x * step; likewise second and y. */
  origin: [number, number]
  step: [number, number]
}

const PLANES: readonly Plane[] = ["axial", "coronal", "sagittal"]
const LAYOUTS: Record<Layout, SLICE_TYPE> = {
  axial: SLICE_TYPE.AXIAL,
  coronal: SLICE_TYPE.CORONAL,
  sagittal: SLICE_TYPE.SAGITTAL,
  multi: SLICE_TYPE.MULTIPLANAR,
  "3d": SLICE_TYPE.RENDER,
}

const HEAT = {
  R: [0, 60, 190, 252, 252],
  G: [0, 20, 55, 160, 255],
  B: [0, 110, 80, 40, 164],
  A: [0, 40, 130, 190, 220],
  I: [0, 64, 128, 192, 255],
}

export class Viewer {
  readonly nv: PaintedNiivue
  header: Header | null = null
  /** Sorted sample of the image's values. */
  values: Float64Array = new Float64Array()
  onDrawn: () => void = () => undefined
  onMoved: () => void = () => undefined
  /** The window that a picture is first shown in; null: NiiVue's own. */
  firstWindow: () => Window | null = () => null
  private image: NVImage | null = null
  private mask: NVImage | null = null
  private heat: NVImage | null = null
  private frame = 0
  private refresh = 0
  /** Counts the pictures asked for, and the cases: what comes late belongs to neither. */
  private turn = 0
  private scene = 0
  private at: Triple = [0, 0, 0]

  constructor(readonly canvas: HTMLCanvasElement) {
    this.nv = new PaintedNiivue({
      interactive: false,
      dragAndDropEnabled: false,
      isResizeCanvas: true,
      backColor: [0, 0, 0, 1],
      crosshairWidth: 0, // `overlay.ts` draws a thinner one
      isRadiologicalConvention: true,
      sagittalNoseLeft: true,
      isSliceMM: false,
      isNearestInterpolation: true,
      multiplanarEqualSize: false,
      multiplanarLayout: MULTIPLANAR_TYPE.GRID,
      multiplanarShowRender: SHOW_RENDER.ALWAYS,
      multiplanarPadPixels: 4,
      show3Dcrosshair: false,
      isOrientCube: false,
      loadingText: "",
      logLevel: "error",
      fontSizeScaling: 0.25,
      fontMinPx: 14,
      fontColor: [0.8, 0.88, 1, 1],
      sliceType: SLICE_TYPE.AXIAL,
      maxDrawUndoBitmaps: 1,
    })
  }

  async start(): Promise<void> {
    await this.nv.attachToCanvas(this.canvas, false)
    this.nv.addColormap("medcl-doubt", HEAT)
  }

  get grid(): Grid | null {
    return this.header?.grid ?? null
  }

  get layout(): Layout {
    return (Object.keys(LAYOUTS) as Layout[]).find((layout) => LAYOUTS[layout] === this.nv.opts.sliceType) ?? "axial"
  }

  setLayout(layout: Layout): void {
    this.nv.opts.sliceType = LAYOUTS[layout]
    this.draw()
  }

  /** Colours of the strokes: 1 is background, class index + 1 the others. */
  setClasses(classes: readonly ClassInfo[]): void {
    const colors = [[0, 0, 0], ...classes.map((one) => rgb(one.color))]
    this.nv.drawLut = cmapper.makeDrawLut({
      R: colors.map((color) => color[0]!),
      G: colors.map((color) => color[1]!),
      B: colors.map((color) => color[2]!),
      A: colors.map((_, index) => (index === 0 ? 0 : 255)),
      I: colors.map((_, index) => index),
    })
    if (this.image) this.nv.updateGLVolume()
  }

  /** Show an image; `keep` leaves strokes, overlays and place as they are (another channel of the same case). */
  async showImage(buffer: ArrayBuffer, keep: boolean): Promise<void> {
    const header = readHeader(buffer)
    straighten(buffer, header)
    const { nv } = this
    const large = header.grid.size[2] === 1 && Math.max(...header.grid.size) > (nv.uiData.max3D ?? 2048)
    const shown = large && header.datatype === 128 ? withAlpha(buffer, header) : buffer
    const turn = ++this.turn
    if (!keep) this.scene++
    const image = await NVImage.loadFromUrl({ url: "image.nii", name: "image.nii", buffer: shown })
    if (turn !== this.turn) return // another picture was asked for meanwhile and must not end up under this one
    const overlays = keep ? nv.volumes.slice(1) : []
    if (!keep) {
      nv.drawBitmap = null
      this.mask = this.heat = null
      nv.scene.pan2Dxyzmm = [0, 0, 0, 1] as unknown as typeof nv.scene.pan2Dxyzmm
    }
    nv.volumes = []
    this.image = image
    this.header = header
    this.values = header.datatype === 128 ? new Float64Array() : sample(image.img ?? [], header.slope, header.intercept)
    nv.opts.is2DSliceShader = large
    const window = this.firstWindow()
    if (window) [image.cal_min, image.cal_max] = [window.min, window.max] // before it is coloured, not once more after
    nv.addVolume(image)
    for (const overlay of overlays) nv.addVolume(overlay)
    if (!keep) this.goTo(header.grid.size.map((count) => Math.floor(count / 2)) as Triple)
  }

  clear(): void {
    const { nv } = this
    this.turn++
    this.scene++
    nv.drawBitmap = null
    this.image = this.mask = this.heat = this.header = null
    nv.volumes = []
    nv.drawScene()
    this.onDrawn() // without a volume NiiVue does not come to it, and lines would stay
  }

  setWindow(window: Window): void {
    if (!this.image || (this.image.cal_min === window.min && this.image.cal_max === window.max)) return
    this.image.cal_min = window.min
    this.image.cal_max = window.max
    this.updateSoon()
  }

  get window(): Window {
    return { min: this.image?.cal_min ?? 0, max: this.image?.cal_max ?? 1 }
  }

  /** Make a stroke map the drawing. The array is held: change it, then say where by `touched`. */
  setStrokes(shown: Uint8Array): void {
    const { nv } = this
    if (!this.grid) return
    const dims = [3, ...this.grid.size]
    const unit = nv.gl.TEXTURE7
    nv.drawTexture = nv.opts.is2DSliceShader ? nv.r8Tex2D(nv.drawTexture, unit, dims) : nv.r8Tex(nv.drawTexture, unit, dims)
    nv.drawBitmap = shown
    this.upload([0, 0, 0], this.grid.size.map((count) => count - 1) as Triple)
  }

  /** Send changed voxels to the graphics card: the box around them and nothing else. */
  touched(voxels: Iterable<number>): void {
    if (!this.grid) return
    const { size } = this.grid
    const low: Triple = [Infinity, Infinity, Infinity]
    const high: Triple = [-1, -1, -1]
    for (const voxel of voxels) {
      const place = voxelPlace(size, voxel)
      for (const axis of [0, 1, 2] as const) {
        low[axis] = Math.min(low[axis], place[axis])
        high[axis] = Math.max(high[axis], place[axis])
      }
    }
    if (high[0] >= 0) this.upload(low, high)
  }

  private upload(low: Triple, high: Triple): void {
    const { nv } = this
    const bitmap = nv.drawBitmap
    if (!this.grid || !bitmap) return
    const { size } = this.grid
    const [w, h, d] = low.map((from, axis) => high[axis]! - from + 1) as Triple
    let box = bitmap
    if (w * h * d < bitmap.length) {
      box = new Uint8Array(w * h * d)
      for (let z = 0; z < d; z++) {
        for (let y = 0; y < h; y++) {
          const start = low[0] + size[0] * (low[1] + y + size[1] * (low[2] + z))
          box.set(bitmap.subarray(start, start + w), w * (y + h * z))
        }
      }
    }
    const { gl } = nv
    gl.activeTexture(gl.TEXTURE7)
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1)
    if (nv.opts.is2DSliceShader) {
      gl.bindTexture(gl.TEXTURE_2D, nv.drawTexture)
      gl.texSubImage2D(gl.TEXTURE_2D, 0, low[0], low[1], w, h, gl.RED, gl.UNSIGNED_BYTE, box)
    } else {
      gl.bindTexture(gl.TEXTURE_3D, nv.drawTexture)
      gl.texSubImage3D(gl.TEXTURE_3D, 0, low[0], low[1], low[2], w, h, d, gl.RED, gl.UNSIGNED_BYTE, box)
    }
    this.draw()
  }

  setStrokeOpacity(opacity: number): void {
    this.nv.drawOpacity = opacity
    this.draw()
  }

  /** Show or take away the filled prediction (class indices) under the strokes. */
  async setMask(buffer: ArrayBuffer | null, classes: readonly ClassInfo[], opacity: number): Promise<void> {
    await this.swap("mask", buffer, "prediction.nii", (overlay) => {
      const colors = classes.map((one) => rgb(one.color))
      overlay.colormapLabel = cmapper.makeLabelLut({
        R: colors.map((color) => color[0]!),
        G: colors.map((color) => color[1]!),
        B: colors.map((color) => color[2]!),
        A: colors.map((_, index) => (index === 0 ? 0 : 255)),
        I: colors.map((_, index) => index),
      })
      overlay.hdr!.intent_code = 1002 // NIfTI's word for a map of labels: NiiVue then never blends two classes
      overlay.opacity = opacity
    })
  }

  async setHeat(buffer: ArrayBuffer | null, opacity: number): Promise<void> {
    await this.swap("heat", buffer, "uncertainty.nii", (overlay) => {
      overlay.colormap = "medcl-doubt"
      overlay.cal_min = 0
      overlay.cal_max = 255
      overlay.opacity = opacity
    })
  }

  setOpacity(which: "mask" | "heat", opacity: number): void {
    const overlay = which === "mask" ? this.mask : this.heat
    if (!overlay || overlay.opacity === opacity) return
    overlay.opacity = opacity
    this.updateSoon()
  }

  private async swap(which: "mask" | "heat", buffer: ArrayBuffer | null, name: string, dress: (overlay: NVImage) => void): Promise<void> {
    const { scene } = this
    let overlay: NVImage | null = null
    // NiiVue lays nothing over pictures larger than a 3D texture; the outline is drawn all the same.
    if (buffer && !this.nv.opts.is2DSliceShader) {
      straighten(buffer, readHeader(buffer))
      overlay = await NVImage.loadFromUrl({ url: name, name, buffer })
      dress(overlay)
    }
    if (scene !== this.scene) return // another case is open now
    const old = this[which]
    if (old && this.nv.volumes.includes(old)) this.nv.removeVolume(old)
    if (overlay && this.image) this.nv.addVolume(overlay)
    this[which] = overlay
  }

  get place(): Triple {
    return this.at
  }

  goTo(place: Triple): void {
    if (!this.grid) return
    const { size } = this.grid
    this.at = clampPlace(size, place)
    const fractions = this.at.map((voxel, axis) => (voxel + 0.5) / size[axis]!)
    this.nv.scene.crosshairPos = fractions as unknown as typeof this.nv.scene.crosshairPos
    this.onMoved()
    this.draw()
  }

  draw(): void {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0
      this.drawNow()
    })
  }

  drawNow(): void {
    cancelAnimationFrame(this.frame) // once is enough
    this.frame = 0
    this.nv.drawScene()
    this.onDrawn()
  }

  private updateSoon(): void {
    this.refresh ||= requestAnimationFrame(() => {
      this.refresh = 0
      this.nv.updateGLVolume()
      this.onDrawn()
    })
  }

  /** The slices on screen and where their voxels lie. */
  tiles(): Tile[] {
    if (!this.grid) return []
    const { nv } = this
    const { size } = this.grid
    const ratio = this.ratio
    const tiles: Tile[] = []
    nv.screenSlices.forEach((slice, index) => {
      const plane = PLANES[slice.axCorSag]
      if (!plane || slice.sliceFrac === Infinity) return
      const [a, b] = WITHIN[plane]
      const [left, top, width, height] = slice.leftTopWidthHeight as [number, number, number, number]
      const first = nv.screenXY2TextureFrac(left + 1, top + 1, index, false)
      const last = nv.screenXY2TextureFrac(left + width - 1, top + height - 1, index, false)
      const [perX, perY] = [width - 2, height - 2]
      const stepX = ((last[a]! - first[a]!) * size[a]) / perX
      const stepY = ((last[b]! - first[b]!) * size[b]) / perY
      tiles.push({
        plane,
        box: [left / ratio, top / ratio, width / ratio, height / ratio],
        origin: [first[a]! * size[a] - stepX * (left + 1), first[b]! * size[b] - stepY * (top + 1)],
        step: [stepX * ratio, stepY * ratio],
      })
    })
    return tiles
  }

  private get ratio(): number {
    return this.canvas.width / Math.max(1, this.canvas.clientWidth)
  }

  tileAt(x: number, y: number): Tile | null {
    return this.tiles().find(({ box: [left, top, width, height] }) => x >= left && y >= top && x < left + width && y < top + height) ?? null
  }

  /** The voxel under a point of the canvas (CSS pixels) in a tile; may lie outside the image. */
  voxelAt(tile: Tile, x: number, y: number): Triple {
    const [a, b] = WITHIN[tile.plane]
    const place: Triple = [...this.at]
    place[a] = Math.floor(tile.origin[0] + tile.step[0] * x)
    place[b] = Math.floor(tile.origin[1] + tile.step[1] * y)
    return place
  }

  /** Where a voxel coordinate of a tile's plane lies on the canvas (CSS pixels). */
  screenAt(tile: Tile, u: number, v: number): [number, number] {
    return [(u - tile.origin[0]) / tile.step[0], (v - tile.origin[1]) / tile.step[1]]
  }

  /** Move the picture so that what was under one point of a tile comes under another. */
  pan(tile: Tile, from: [number, number], to: [number, number]): void {
    if (!this.grid) return
    const [a, b] = WITHIN[tile.plane]
    const { spacing } = this.grid
    const pan = this.nv.scene.pan2Dxyzmm
    const zoom = pan[3]!
    pan[a] = pan[a]! + (to[0] - from[0]) * tile.step[0] * spacing[a] * zoom
    pan[b] = pan[b]! + (to[1] - from[1]) * tile.step[1] * spacing[b] * zoom
    this.draw()
  }

  get zoom(): number {
    return this.nv.scene.pan2Dxyzmm[3]!
  }

  /** Zoom about a point of a tile. */
  setZoom(zoom: number, tile: Tile | null, x: number, y: number): void {
    const pan = this.nv.scene.pan2Dxyzmm
    const bounded = Math.min(Math.max(zoom, 0.5), 40)
    if (!tile || !this.grid) {
      pan[3] = bounded
      this.draw()
      return
    }
    const [a, b] = WITHIN[tile.plane]
    const wanted = [tile.origin[0] + tile.step[0] * x, tile.origin[1] + tile.step[1] * y] as const
    pan[3] = bounded
    this.drawNow()
    const now = this.tiles().find((one) => one.plane === tile.plane)
    if (!now) return
    const { spacing } = this.grid
    pan[a] = pan[a]! + (now.origin[0] + now.step[0] * x - wanted[0]) * spacing[a] * bounded
    pan[b] = pan[b]! + (now.origin[1] + now.step[1] * y - wanted[1]) * spacing[b] * bounded
    this.draw()
  }

  resetView(): void {
    this.nv.scene.pan2Dxyzmm = [0, 0, 0, 1] as unknown as typeof this.nv.scene.pan2Dxyzmm
    this.nv.scene.volScaleMultiplier = 1
    this.draw()
  }

  rotate(dx: number, dy: number): void {
    const { scene } = this.nv
    this.nv.setRenderAzimuthElevation(scene.renderAzimuth + dx, scene.renderElevation + dy)
    this.onDrawn()
  }

  /** The plane that keys and the slider go through: that of the single view, else the one people draw in. */
  get plane(): Plane {
    const { layout } = this
    if (layout !== "multi" && layout !== "3d") return layout
    return this.grid ? drawingPlane(this.grid) : "axial"
  }

  step(plane: Plane, by: number): void {
    const place: Triple = [...this.at]
    place[DEPTH[plane]] += by
    this.goTo(place)
  }
}

function rgb(color: string): [number, number, number] {
  return [1, 3, 5].map((at) => Number.parseInt(color.slice(at, at + 2), 16)) as [number, number, number]
}
