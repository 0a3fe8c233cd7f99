"""Metrics of heatmaps: one file each."""
