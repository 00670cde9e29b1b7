"""Points with names: metrics, tables, figures, files."""
