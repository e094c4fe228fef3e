"""Ablation methods held against planted circuits: do they find the edges that are known?"""
