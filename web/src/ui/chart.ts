/** Curves as SVG: what training and statistics show. Lines differ by dash as well as by colour. */

export interface Curve {
  name: string
  points: readonly (readonly [x: number, y: number])[]
}

const NS = "http://www.w3.org/2000/svg"
const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [280, 120, 34, 8, 8, 18]

function svg(tag: string, attributes: Record<string, string | number>, text = ""): SVGElement {
  const element = document.createElementNS(NS, tag)
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value))
  element.textContent = text
  return element
}

function short(value: number): string {
  if (value !== 0 && (Math.abs(value) >= 10_000 || Math.abs(value) < 0.01)) return value.toExponential(0)
  return Number(value.toPrecision(3)).toString()
}

/** `range` fixes the y axis; `xWord` names the x axis. The last values are said in words for those who cannot see it. */
export function chart(title: string, curves: readonly Curve[], xWord: string, range?: readonly [number, number]): HTMLElement {
  const shown = curves.map((curve) => ({ ...curve, points: curve.points.filter(([x, y]) => Number.isFinite(x) && Number.isFinite(y)) })).filter((curve) => curve.points.length > 0)
  const xs = shown.flatMap((curve) => curve.points.map(([x]) => x))
  const ys = shown.flatMap((curve) => curve.points.map(([, y]) => y))
  const [x0, x1] = [Math.min(...xs), Math.max(...xs)]
  const [y0, y1] = range ?? [Math.min(0, ...ys), Math.max(...ys)]
  const across = (x: number): number => LEFT + ((x - x0) / (x1 - x0 || 1)) * (WIDTH - LEFT - RIGHT)
  const up = (y: number): number => HEIGHT - BOTTOM - ((Math.min(Math.max(y, y0), y1) - y0) / (y1 - y0 || 1)) * (HEIGHT - TOP - BOTTOM)
  const words = shown.map((curve) => `${curve.name} ${short(curve.points.at(-1)![1])}`).join(", ")
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${title}: ${words}`, class: "chart" })
  for (const y of [y0, (y0 + y1) / 2, y1]) {
    picture.append(svg("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: up(y), y2: up(y), class: "grid" }))
    picture.append(svg("text", { x: LEFT - 4, y: up(y) + 3, "text-anchor": "end" }, short(y)))
  }
  picture.append(svg("text", { x: LEFT, y: HEIGHT - 5 }, short(x0)))
  picture.append(svg("text", { x: WIDTH - RIGHT, y: HEIGHT - 5, "text-anchor": "end" }, `${short(x1)} ${xWord}`))
  shown.forEach((curve, index) => {
    const points = curve.points.map(([x, y]) => `${across(x).toFixed(1)},${up(y).toFixed(1)}`)
    picture.append(svg("polyline", { points: points.join(" "), class: `curve c${index % 6}` }))
    const [x, y] = curve.points.at(-1)!
    picture.append(svg("circle", { cx: across(x), cy: up(y), r: 2.5, class: `dot c${index % 6}` }))
  })
  const figure = document.createElement("figure")
  const caption = document.createElement("figcaption")
  caption.textContent = title
  const legend = document.createElement("ul")
  legend.className = "legend"
  shown.forEach((curve, index) => {
    const item = document.createElement("li")
    item.className = `c${index % 6}`
    item.textContent = `${curve.name} ${short(curve.points.at(-1)![1])}`
    legend.append(item)
  })
  figure.append(caption, picture, legend)
  return figure
}
