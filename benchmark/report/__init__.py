"""A report: static pages on stored runs, their images and their curves."""
