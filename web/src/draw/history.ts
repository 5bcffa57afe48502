/** What undo and redo refer to. Read from the history of strokes alone, so that both survive a reload of the page. */

import type { Stroke } from "../net/types"

type Entry = Pick<Stroke, "id" | "author" | "tool" | "undone">

function mine<E extends Entry>(history: readonly E[], author: string): E[] {
  return history.filter((stroke) => stroke.author === author && stroke.tool !== "import")
}

/** My newest stroke that stands. */
export function toUndo<E extends Entry>(history: readonly E[], author: string): E | null {
  return mine(history, author).findLast((stroke) => !stroke.undone) ?? null
}

/** The first of my strokes undone after my newest standing one; a new stroke leaves nothing to redo. */
export function toRedo<E extends Entry>(history: readonly E[], author: string): E | null {
  const own = mine(history, author)
  return own[own.findLastIndex((stroke) => !stroke.undone) + 1] ?? null
}
