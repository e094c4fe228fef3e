"""Ablation methods: what stands in place of a component, and how a target's change is measured."""
