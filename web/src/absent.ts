/** Stands for the decompressors of zarr volumes: the server sends plain NIfTI, and 1.4 MB need not lie in the package for them. */

export default {
  fromConfig(): never {
    throw new Error("This page reads no compressed zarr volumes.")
  },
}
