import type { NVImage } from "@niivue/niivue"
import { describe, expect, it } from "vitest"
import { colours, layers, over, shades } from "../src/draw/painted"

const GREY = Array.from({ length: 256 }, (_, at) => [at, at, at, at]).flat()

function painted(img: NonNullable<NVImage["img"]>, cal_min: number, cal_max: number, slope = 1, intercept = 0): number[] {
  const hdr = { scl_slope: slope, scl_inter: intercept } as NVImage["hdr"]
  const into = new Uint32Array(img.length)
  shades({ img, hdr, cal_min, cal_max }, GREY)(into, 0)
  return [...into].map((pixel) => pixel & 255)
}

describe("grey values", () => {
  it("go from black at the window's lower end to white at its upper end", () => {
    expect(painted(new Int16Array([-1000, -160, -159, 40, 240, 3000]), -160, 240)).toEqual([0, 0, 2, 128, 255, 255])
  })

  it("are the same for every type that can hold them", () => {
    const values = [0, 3, 17, 100, 127]
    const expected = painted(new Float32Array(values), 2, 101)
    for (const Kind of [Uint8Array, Int16Array, Uint16Array, Int32Array, Float64Array]) expect(painted(new Kind(values), 2, 101)).toEqual(expected)
  })

  it("keep their sign, and large ones are not taken for negative", () => {
    expect(painted(new Int16Array([-5, 5]), -10, 0)).toEqual([128, 255])
    expect(painted(new Uint16Array([65535, 1]), 0, 65535)).toEqual([255, 2])
  })

  it("follow the slope of the file, and NaN is black", () => {
    expect(painted(new Int16Array([0, 50, 100]), 0, 200, 2)).toEqual([0, 128, 255])
    expect(painted(new Float32Array([NaN, 1]), 0, 1)).toEqual([0, 255])
  })

  it("start where they are told to", () => {
    const into = new Uint32Array(2)
    shades({ img: new Uint8Array([0, 255, 0, 255]), hdr: { scl_slope: 1, scl_inter: 0 } as NVImage["hdr"], cal_min: 0, cal_max: 255 }, GREY)(into, 3 - 2)
    expect([...into].map((pixel) => pixel & 255)).toEqual([255, 0])
  })
})

describe("overlays", () => {
  const label = (img: Uint8Array, opacity: number): NVImage =>
    ({ img, opacity, hdr: { intent_code: 1002 }, colormapLabel: { lut: new Uint8ClampedArray([0, 0, 0, 0, 255, 0, 0, 255, 0, 255, 0, 255]), min: 0, max: 2 } }) as unknown as NVImage

  it("have the colour of their class, and none where there is none", () => {
    expect(colours(label(new Uint8Array(), 0.5), () => [])[1]).toEqual([255, 0, 0, 0.5])
    expect(colours(label(new Uint8Array(), 0.5), () => [])[0]).toEqual([0, 0, 0, 0])
    expect(colours(label(new Uint8Array(), 0.5), () => [])[3]).toEqual([0, 0, 0, 0]) // a class that nobody named
  })

  it("lie over each other as Porter and Duff say", () => {
    const half = over([0, 0, 255, 0.5], [255, 0, 0, 1])
    expect([half & 255, (half >>> 16) & 255, half >>> 24]).toEqual([128, 128, 255])
    expect(over([9, 9, 9, 0], [9, 9, 9, 0])).toBe(0)
    expect(over([1, 2, 3, 1], [9, 9, 9, 1])).toBe(over([1, 2, 3, 1], [0, 0, 0, 0]))
  })

  it("show the lower one where the upper one is clear", () => {
    const heat = { img: new Uint8Array([0, 255, 255]), opacity: 1, hdr: { intent_code: 0 }, colormap: "heat" } as unknown as NVImage
    const map = Array.from({ length: 256 }, (_, at) => [0, 0, at, at]).flat()
    const into = new Uint32Array(3)
    layers([label(new Uint8Array([1, 1, 0]), 1), heat], () => map)(into, 0)
    expect([...into].map((pixel) => [pixel & 255, (pixel >>> 16) & 255])).toEqual([[255, 0], [0, 255], [0, 255]])
  })
})
