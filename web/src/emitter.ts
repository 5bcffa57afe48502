/** Says to whoever listens that something changed. */

export class Emitter<Topics extends string> {
  private listeners = new Map<Topics, Set<() => void>>()

  on(topics: Topics | readonly Topics[], listener: () => void): void {
    for (const topic of typeof topics === "string" ? [topics] : topics) {
      const set = this.listeners.get(topic) ?? new Set()
      set.add(listener)
      this.listeners.set(topic, set)
    }
  }

  emit(...topics: Topics[]): void {
    const heard = new Set<() => void>()
    for (const topic of topics) for (const listener of this.listeners.get(topic) ?? []) heard.add(listener)
    for (const listener of heard) listener()
  }
}
