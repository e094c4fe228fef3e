"""``ds.cnt``: graphs, metrics, roles and figures of a result or a part of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from cntbench.accessor.card import card, register_display
from cntbench.accessor.plot import Plot
from cntbench.errors import StorageError, unmeasured
from cntbench.files.attributes import described
from cntbench.results import selection
from cntbench.results.schema import validate_edges

if TYPE_CHECKING:
    import networkx as nx

    from cntbench.reporting.page.write import InteractiveFilm


class Cnt:
    """The accessor ``cnt`` of a Dataset or DataTree that satisfies the schema.

    It also works on any selection from a result: some tasks, one checkpoint, checkpoints by step.
    Methods of a DataTree use its root. Results have the dims of the dataset; a task, ablation or
    checkpoint that was selected by scalar is dropped.

    Raises
    ------
    StorageError
        In any method, if a needed variable is missing.
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
        """Whether the architecture has each edge: a mask with dims ``source, target``.

        Raises
        ------
        StorageError
            If no checkpoint was measured, so that the mask is unknown.
        """
        dataset = selection.with_schema_dims(self._root, ["influence"]).compute()
        validate_edges(dataset, "the dataset")
        influence = dataset["influence"]
        feasible = influence.notnull().any(selection.CELL)
        if not feasible.any():
            raise unmeasured("the dataset")
        return feasible.rename("feasible").assign_attrs(
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
            Labels. Each may be omitted if the dataset has only one.
        step
            Training step, instead of the checkpoint's label.

        Returns
        -------
        networkx.DiGraph
            *Nodes* are the components in causal order, with ``layer``, ``kind`` and, for heads,
            ``head``. Where defined, they have the scores of heads (``prefix_matching``,
            ``previous_token``, ``duplicate_token``, ``positional``, ``copying``), and the change
            of each readout when the component is ablated (``logit_difference_effect``,
            ``logit_difference_effect_standard_error``, …). If sources and targets are the same
            components, they have their roles (``spreader_strength``,
            ``spreader_strength_standard_error``, ``spreader_rank``, ``spreader_top``; likewise
            ``gatherer_…``).

            *Edges* are the feasible edges, with their influence as ``weight`` and, where defined,
            ``standard_error``, ``effect`` and ``effect_standard_error``. A feasible edge of
            influence 0 has weight 0: this keeps the fact that it was measured, and weighted
            algorithms ignore it. Edges that are not feasible are absent.

            *The graph* has ``task``, ``ablation``, ``checkpoint``, ``step``, ``tokens_seen`` if
            known, ``revision``, ``status`` (``ok`` or ``duplicate``), ``source`` and the
            conventions ``sign_convention`` and ``normalisation``.

        Raises
        ------
        CntbenchError
            If a label is unknown, a needed label is missing, or the cell was not measured.
        """
        from cntbench.accessor.graph import OF_EDGES, cell_graph
        from cntbench.results.schema import HEAD_SCORES

        root = self._root
        optional = [*OF_EDGES.values(), *HEAD_SCORES, "readout_effect", "readout_effect_se"]
        present = [name for name in optional if name in root and name not in selection.OF_FILMS]
        labels = {"task": task, "ablation": ablation, "checkpoint": checkpoint}
        return cell_graph(selection.cell(root, [*selection.OF_FILMS, *present], labels, step))

    def metric(self, name: str) -> xr.DataArray:
        """Compute a metric of every graph, as ``cntbench run`` does.

        Parameters
        ----------
        name
            A metric; ``cntbench list metrics`` lists them.

        Returns
        -------
        xarray.DataArray
            Dims ``task, ablation`` and those that `cntbench.metrics` lists. NaN at checkpoints that
            were not measured, or are duplicates, in any of the dataset's tasks and ablations.

        Raises
        ------
        CntbenchError
            If there is no such metric, or sources and targets are not the same components.
        """
        from cntbench.metrics._film import film_metrics
        from cntbench.plugins import find
        from cntbench.results.film import usable
        from cntbench.results.tree import film_coordinates

        name = str(name)  # anything else is an unknown name
        about = find("metric", name).METRIC
        in_time = about.over_time or "step" in about.needs
        dataset = self._square(["influence", "status"], in_time=in_time)
        values = film_metrics(dataset["influence"], usable(dataset), [name])[name]
        labels: dict[Any, Any] = {**film_coordinates(dataset, values.dims)}
        labels |= {n: c for n, c in dataset.coords.items() if set(c.dims) <= set(values.dims)}
        return selection.as_selected(values.assign_coords(labels), self._root)

    def readout(self, name: str) -> xr.DataArray:
        """Return a readout of the clean model, with its unit, for plots.

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
        index = selection.index_of(dataset, "readout", name)
        values = dataset["readout_value"].isel(readout=index).rename(name)
        unit = str(values["readout_unit"].item())
        values.attrs = described(name, f"{name} of the clean model, mean over prompts", unit)
        return selection.as_selected(values.drop_vars(["readout", "readout_unit"]), self._root)

    def backbone(self, name: str) -> xr.DataArray:
        """Return whether a backbone keeps each edge of every graph.

        Parameters
        ----------
        name
            A backbone; ``cntbench list backbones`` lists them.

        Returns
        -------
        xarray.DataArray
            A mask with dims ``task, ablation, checkpoint, source, target``.

        Raises
        ------
        CntbenchError
            If there is no such backbone, or sources and targets are not the same components.
        """
        from cntbench.metrics.backbones._base import backbone

        name = str(name)
        chosen = backbone(name)
        influence = self._square(["influence"])["influence"]
        mask = influence.copy(data=chosen.rule.keep(influence.values))
        mask.attrs = {"long_name": chosen.spec.summary}
        return selection.as_selected(mask.rename(name), self._root)

    def roles(self) -> xr.Dataset:
        """Return the roles of the components at every checkpoint.

        Returns
        -------
        xarray.Dataset
            The group ``roles`` of a DataTree that has it and whose influence has not been changed.
            Otherwise the variables that are computed from influence and its standard errors alone:
            ``spreader_strength``, ``spreader_strength_se``, the ends of its interval,
            ``spreader_rank``, ``spreader_top`` and ``spreader_move``, dims ``task, ablation,
            checkpoint, source``; likewise ``gatherer_…``, dims ``…, target``.

        Raises
        ------
        CntbenchError
            If sources and targets are not the same components.
        """
        from cntbench.dynamics.film import prompts_of
        from cntbench.dynamics.role_summary import OF_COMPONENTS, component_roles, role_group
        from cntbench.results.checking import is_outdated

        if isinstance(self._data, xr.DataTree) and "roles" in self._data.children:
            groups, sizes = self._data.children, self._root.sizes
            count = groups["metrics"].sizes.get("component") if "metrics" in groups else None
            part = any(sizes.get(dim) != count for dim in ("source", "target"))
            if part or not is_outdated(self._data):
                return groups["roles"].to_dataset(inherit=True).compute()
        counts = {"prompts_measured"} & self._root.keys()
        dataset = self._square(["influence", "influence_se", "status", *counts])
        cells = []
        for i, j in np.ndindex(dataset.sizes["task"], dataset.sizes["ablation"]):
            cell = dataset.isel(task=i, ablation=j)
            measured = cell.isel(checkpoint=(cell["status"] == "ok").values)
            weights, errors = (
                measured[name].values.astype(np.float64) for name in ("influence", "influence_se")
            )
            layer = dataset["source_layer"].values
            cells.append((cell, component_roles(weights, errors, layer, prompts_of(measured))))
        roles = role_group(dataset, cells)
        roles = roles[[name for name in roles if str(name).split("_", 1)[1] in OF_COMPONENTS]]
        labels = {n: c for n, c in dataset.coords.items() if set(c.dims) <= set(roles.dims)}
        roles = roles.assign_coords(labels)
        return roles.map(lambda array: selection.as_selected(array, self._root), keep_attrs=True)

    def film(self, *, height: int | None = None) -> InteractiveFilm:
        """Return the interactive film, for the last line of a notebook cell.

        Parameters
        ----------
        height
            Height of its frame [pixel]; by default, enough for the graph, up to 900.

        Raises
        ------
        StorageError
            If the data is not a film or a selection from one.
        """
        from cntbench.reporting.page.write import InteractiveFilm
        from cntbench.results.checking import as_result

        return InteractiveFilm(as_result(self._data.compute(), where="the dataset"), height)

    def _repr_html_(self) -> str:
        return card(self._root)

    @property
    def plot(self) -> Plot:
        """The figures of `cntbench.figures` for this result."""
        return Plot(self._data)

    def _square(self, needed: list[str] | tuple[str, ...], *, in_time: bool = False) -> xr.Dataset:
        """Return variables of the dataset if its sources are its targets, and weights are weights.

        With ``in_time``, checkpoints have to be in the order of training.
        """
        dataset = selection.with_schema_dims(self._root, needed).compute()
        selection.check_square(dataset)
        validate_edges(dataset, "the dataset")
        if (dataset["influence"] < 0).any():
            raise StorageError(
                "variable 'influence' has negative numbers, but this needs weights",
                where="the dataset",
                hint="Take their absolute values.",
            )
        if in_time and (dataset["step"].diff("checkpoint") <= 0).any():
            raise StorageError(
                "variable 'step' does not rise, but this compares a checkpoint with the one before",
                where="the dataset",
                hint="Select each checkpoint once, in the order of training.",
            )
        return dataset


def register() -> None:
    """Register the accessor with xarray, and the display of results with IPython."""
    for register_accessor in (xr.register_dataset_accessor, xr.register_datatree_accessor):
        register_accessor("cnt")(Cnt)  # type: ignore[no-untyped-call]
    register_display()
