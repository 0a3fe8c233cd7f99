"""Faithfulness benchmark for saliency methods: the harness, which knows no method by name."""
