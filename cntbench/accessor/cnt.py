"""``ds.cnt``: what a result, or a part of one, can be asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from cntbench.accessor.card import card, register_display
from cntbench.accessor.plot import Plot
from cntbench.attributes import described
from cntbench.errors import StorageError
from cntbench.results import selection

if TYPE_CHECKING:
    import networkx as nx

    from cntbench.reporting.page.embedded import InteractiveFilm

#: What films and graphs are made of.
_OF_CELLS = ("influence", "influence_se", "status", "status_reason")


class Cnt:
    """The accessor ``cnt`` of a Dataset or DataTree that satisfies the schema.

    What has been selected from a result is as good as the whole: some of its tasks, one checkpoint,
    checkpoints by step. What is asked of a DataTree is asked of its root. Answers have the dims of
    the dataset; where a task, an ablation or a checkpoint has been taken from it, theirs are taken
    too.

    Raises
    ------
    StorageError
        By any of its methods, if a variable is missing that the answer is made of.
    """

    def __init__(self, data: xr.Dataset | xr.DataTree) -> None:
        self._data = data

    @property
    def _root(self) -> xr.Dataset:
        if isinstance(self._data, xr.DataTree):
            return self._data.to_dataset(inherit=False)
        return self._data

    @property
    def feasible(self) -> xr.DataArray:
        """Which edges the architecture has: a mask with dims ``source, target``.

        Raises
        ------
        StorageError
            If no checkpoint was measured: then the dataset does not know.
        """
        influence = selection.with_schema_dims(self._root, ["influence"])["influence"].compute()
        found = influence.notnull().any(selection.CELL)
        if not found.any():
            raise StorageError("has no checkpoint that was measured", where="the dataset")
        return found.rename("feasible").assign_attrs(
            long_name="whether the architecture lets the source reach the target"
        )

    def graph(
        self,
        *,
        task: str | None = None,
        ablation: str | None = None,
        checkpoint: str | None = None,
        step: int | None = None,
    ) -> nx.DiGraph:
        """Return one moment of the film as a networkx graph.

        Parameters
        ----------
        task, ablation, checkpoint
            Labels. One may be left out if the dataset has one only.
        step
            Training step, instead of the checkpoint's label.

        Returns
        -------
        networkx.DiGraph
            *Nodes* are the components in causal order, with ``layer``, ``kind`` and, for heads,
            ``head``; where they are defined, ``prefix_matching`` and ``previous_token``, the change
            of each readout when the component is ablated (``logit_difference_effect``,
            ``logit_difference_effect_standard_error``, …), and its roles (``spreader_strength``,
            ``spreader_strength_standard_error``, ``spreader_rank``, ``spreader_top``; likewise
            ``gatherer_…``), if sources and targets are the same components.

            *Edges* are the feasible ones, with ``weight``, their influence, and where they are
            defined ``standard_error``, ``effect`` and ``effect_standard_error``. A feasible edge of
            influence 0 is an edge of weight 0: that it was measured is worth knowing, and
            algorithms that take weights pass over it. An edge that is not feasible is none.

            *Of the graph*: ``task``, ``ablation``, ``checkpoint``, ``step``, ``tokens_seen`` if
            known, ``revision``, ``status`` (``ok`` or ``duplicate``), ``source`` and the
            conventions ``sign_convention`` and ``normalisation``.

        Raises
        ------
        CntbenchError
            If a label is unknown or one of several is to be chosen; if the cell was not measured.
        """
        from cntbench.accessor.graph import OF_EDGES, OF_NODES, cell_graph

        root = self._root
        beside = [*OF_EDGES.values(), *OF_NODES, "readout_effect", "readout_effect_se"]
        present = [name for name in beside if name in root and name not in _OF_CELLS]
        labels = {"task": task, "ablation": ablation, "checkpoint": checkpoint}
        return cell_graph(selection.cell(root, [*_OF_CELLS, *present], labels, step))

    def metric(self, name: str) -> xr.DataArray:
        """Compute a metric of every graph, as ``cntbench run`` does.

        Parameters
        ----------
        name
            As ``cntbench list metrics`` lists them.

        Returns
        -------
        xarray.DataArray
            Dims ``task, ablation`` and those that `cntbench.metrics` says; NaN at checkpoints that
            were not measured or repeat another in any of the dataset's tasks and ablations.

        Raises
        ------
        CntbenchError
            If there is no such metric, or sources and targets are not the same components.
        """
        from cntbench.metrics._film import film_metrics
        from cntbench.results.film import usable
        from cntbench.results.tree import film_coordinates

        dataset = self._square(["influence", "status"])
        found = film_metrics(dataset["influence"], usable(dataset), [name])[name]
        labels: dict[Any, Any] = {**film_coordinates(dataset, found.dims)}
        labels |= {n: c for n, c in dataset.coords.items() if set(c.dims) <= set(found.dims)}
        return selection.as_selected(found.assign_coords(labels), self._root)

    def readout(self, name: str) -> xr.DataArray:
        """Return a readout of the clean model, with its unit, as plots label it.

        Parameters
        ----------
        name
            A label of the dim ``readout``.

        Returns
        -------
        xarray.DataArray
            Dims ``task, checkpoint``.

        Raises
        ------
        CntbenchError
            If there is no such readout.
        """
        dataset = selection.with_schema_dims(self._root, ["readout_value"])
        dataset = dataset[["readout_value"]].compute()
        at = selection.index_of(dataset, "readout", name)
        found = dataset["readout_value"].isel(readout=at).rename(name)
        unit = str(found["readout_unit"].item())
        found.attrs = described(name, f"{name} of the clean model, mean over prompts", unit)
        return selection.as_selected(found.drop_vars(["readout", "readout_unit"]), self._root)

    def backbone(self, name: str) -> xr.DataArray:
        """Return which edges of every graph a backbone keeps.

        Parameters
        ----------
        name
            As ``cntbench list backbones`` lists them.

        Returns
        -------
        xarray.DataArray
            A mask with dims ``task, ablation, checkpoint, source, target``.

        Raises
        ------
        CntbenchError
            If there is no such backbone, or sources and targets are not the same components.
        """
        from cntbench.backbones._base import backbone

        found = backbone(name)
        influence = self._square(["influence"])["influence"]
        kept = influence.copy(data=found.rule.keep(influence.values))
        kept.attrs = {"long_name": found.spec.summary}
        return selection.as_selected(kept.rename(name), self._root)

    def roles(self) -> xr.Dataset:
        """Return who spreads and who gathers at every checkpoint.

        Returns
        -------
        xarray.Dataset
            Of a DataTree that has it, the group ``roles``. Else what follows from influence and its
            standard errors alone: ``spreader_strength``, ``spreader_strength_se``, the ends of its
            interval, ``spreader_rank``, ``spreader_top`` and ``spreader_move``, dims ``task,
            ablation, checkpoint, source``; likewise ``gatherer_…``, dims ``…, target``.

        Raises
        ------
        CntbenchError
            If sources and targets are not the same components.
        """
        from cntbench.dynamics.role_summary import OF_COMPONENTS, component_roles, role_group

        if isinstance(self._data, xr.DataTree) and "roles" in self._data.children:
            return self._data.children["roles"].to_dataset(inherit=True).compute()
        dataset = self._square(("influence", "influence_se", "status"))
        cells = []
        for i, j in np.ndindex(dataset.sizes["task"], dataset.sizes["ablation"]):
            cell = dataset.isel(task=i, ablation=j)
            measured = cell.isel(checkpoint=(cell["status"] == "ok").values)
            weights, errors = (
                measured[name].values.astype(np.float64) for name in ("influence", "influence_se")
            )
            layer = dataset["source_layer"].values
            cells.append((cell, component_roles(weights, errors, layer)))
        found = role_group(dataset, cells)
        found = found[[name for name in found if str(name).split("_", 1)[1] in OF_COMPONENTS]]
        labels = {n: c for n, c in dataset.coords.items() if set(c.dims) <= set(found.dims)}
        found = found.assign_coords(labels)
        return found.map(lambda one: selection.as_selected(one, self._root), keep_attrs=True)

    def film(self, *, height: int | None = None) -> InteractiveFilm:
        """Return the interactive film, which a notebook shows as the last line of a cell.

        Parameters
        ----------
        height
            Of its frame [pixel]; by default, as the graph needs, up to 900.

        Raises
        ------
        StorageError
            If the data is no film or selection from one.
        """
        from cntbench.reporting.page.embedded import InteractiveFilm
        from cntbench.results.checking import as_result

        return InteractiveFilm(as_result(self._data.compute(), where="the dataset"), height)

    def _repr_html_(self) -> str:
        return card(self._root)

    @property
    def plot(self) -> Plot:
        """The pictures of `cntbench.figures`, of this result."""
        return Plot(self._data)

    def _square(self, needed: list[str] | tuple[str, ...]) -> xr.Dataset:
        """Return variables of a dataset whose sources are its targets."""
        dataset = selection.with_schema_dims(self._root, needed).compute()
        sources, targets = ([str(n) for n in dataset[d].values] for d in ("source", "target"))
        if sources != targets:
            raise StorageError(
                "has other sources than targets, and this is asked of whole graphs",
                where="the dataset",
                hint="Select the same components on both sides, or look at some afterwards.",
            )
        return dataset


def register() -> None:
    """Give xarray's Dataset and DataTree the accessor, and in IPython the display of results."""
    for give in (xr.register_dataset_accessor, xr.register_datatree_accessor):
        give("cnt")(Cnt)  # type: ignore[no-untyped-call]
    register_display()
