"""Data sets: one file each, yielding images with their annotation."""
