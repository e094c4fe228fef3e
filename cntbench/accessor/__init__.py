"""The accessor ``cnt`` of xarray's Dataset and DataTree: graphs, metrics, roles and pictures."""
