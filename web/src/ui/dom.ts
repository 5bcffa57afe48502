/** Elements in one line each. No styles in attributes: the content-security policy forbids them. */

type Child = Node | string | null | undefined | false
type Properties<K extends keyof HTMLElementTagNameMap> = Partial<Omit<HTMLElementTagNameMap[K], "style" | "children">> & {
  class?: string
  aria?: Record<string, string>
  data?: Record<string, string>
  role?: string
  for?: string
  on?: Record<string, (event: Event) => void>
}

export function h<K extends keyof HTMLElementTagNameMap>(tag: K, properties: Properties<K> = {}, ...children: Child[]): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag)
  const { class: name, aria, data, role, for: target, on, ...rest } = properties
  if (name) element.className = name
  if (role) element.setAttribute("role", role)
  if (target) element.setAttribute("for", target)
  for (const [key, value] of Object.entries(aria ?? {})) element.setAttribute(`aria-${key}`, value)
  for (const [key, value] of Object.entries(data ?? {})) element.dataset[key] = value
  for (const [key, listener] of Object.entries(on ?? {})) element.addEventListener(key, listener)
  Object.assign(element, rest)
  fill(element, ...children)
  return element
}

export function fill(element: Element, ...children: Child[]): void {
  element.replaceChildren(...children.filter((child): child is Node | string => child !== null && child !== undefined && child !== false))
}

export function byId<E extends HTMLElement = HTMLElement>(id: string): E {
  const element = document.getElementById(id)
  if (!element) throw new Error(`The page has no element '${id}'.`)
  return element as E
}

/** A button; `key` is told to people who look for it and to those who listen. */
export function button(label: string, onClick: () => void, properties: Properties<"button"> & { key?: string } = {}): HTMLButtonElement {
  const { key, ...rest } = properties
  const title = key ? `${rest.title ?? label} (key ${key})` : rest.title
  return h("button", { type: "button", ...rest, ...(title ? { title } : {}), on: { click: onClick } }, label)
}

/** A labelled slider with its value in words beside it. */
export function slider(
  label: string,
  range: { min: number; max: number; step: number },
  words: (value: number) => string,
  onInput: (value: number) => void,
): { element: HTMLElement; set: (value: number) => void } {
  const output = h("output", {})
  const input = h("input", { type: "range", min: String(range.min), max: String(range.max), step: String(range.step) })
  const set = (value: number): void => {
    if (Number(input.value) !== value) input.value = String(value)
    output.textContent = words(value)
    input.setAttribute("aria-valuetext", words(value))
  }
  input.addEventListener("input", () => {
    set(Number(input.value))
    onInput(Number(input.value))
  })
  return { element: h("label", { class: "slider" }, h("span", {}, label), input, output), set }
}

export function checkbox(label: string, onChange: (on: boolean) => void, title = ""): { element: HTMLElement; set: (on: boolean) => void } {
  const input = h("input", { type: "checkbox" })
  input.addEventListener("change", () => onChange(input.checked))
  return {
    element: h("label", { class: "check", title }, input, h("span", {}, label)),
    set: (on) => {
      input.checked = on
    },
  }
}

/** A part of the tool column that folds. */
export function section(title: string, open: boolean, ...children: Child[]): HTMLDetailsElement {
  return h("details", { open, class: "section" }, h("summary", {}, h("h2", {}, title)), ...children)
}

export function duration(seconds: number): string {
  if (seconds < 60) return `${Math.round(seconds)} s`
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`
  return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`
}

export function count(number: number, word: string, words = `${word}s`): string {
  return `${number.toLocaleString("en")} ${number === 1 ? word : words}`
}
