"""Storage: Parquet parts, the manifest that makes them a store, the writer that fills it and the store that reads it."""
