"""Tasks: their specs, and the prompts that generators make or files hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from cntbench import plugins
from cntbench.errors import CntbenchError, nearest, shown
from cntbench.prompts import PADDING, Language, Prompt, Prompts, batch, generate, lengths
from cntbench.prompts.continuations import AnswerRule
from cntbench.prompts.frames import rows_in_memory
from cntbench.prompts.generators import file
from cntbench.prompts.generators.file import PromptTable
from cntbench.prompts.tables import is_table
from cntbench.specs import TaskSpec, as_dict, build, read_toml

#: Keys of a spec that are prose and change no number.
_PROSE = ("summary", "learnt", "not_learnt")


@dataclass(frozen=True)
class Task:
    """A task spec with what makes its prompts.

    Parameters
    ----------
    needs_text
        Whether it requires a model with a tokenizer.
    make
        The ``make`` of its generator's parameters; None if it has a table.
    table
        A user's own prompts, if they are not generated.
    """

    name: str
    path: Path
    control: bool
    needs_text: bool
    spec: TaskSpec
    make: Callable[[Language, np.random.RandomState], Prompt] | None
    table: PromptTable | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """What its prompts and readouts depend on; the content of a file, wherever it lies."""
        values = without_prose(self.spec)
        if self.table is not None:
            parameters = {k: v for k, v in values["parameters"].items() if k != "path"}
            values["parameters"] = {**parameters, "sha256": self.table.sha256}
        return values

    def prompts(self, language: Language, *, count: int, seed: int) -> Prompts:
        """Return the task's prompts, determined by language, seed and version.

        Raises a `CntbenchError` if the language lacks something that the task needs.
        """
        if self.spec.bos and language.beginning is None:
            raise CntbenchError(
                "has bos = true, and the model has no token for the beginning of a text",
                hint="Remove bos, or name the token in the model's config.json: bos_token_id.",
            )
        bos = language.beginning if self.spec.bos else None
        if self.table is not None:
            if bos is not None and language.context is not None:
                language = replace(language, context=language.context - 1)
            prompts = self.table.prompts(language, count)
            return batch(
                [_after_beginning(bos, p) for p in prompts] if bos is not None else prompts
            )
        assert self.make is not None, "a task without a table has a generator"
        return generate(
            self.make,
            language,
            n_prompts=count,
            seed=seed,
            stream=f"{self.name}@{self.spec.version}",
            bos=bos,
        )


def _after_beginning(token: int, prompt: Prompt) -> Prompt:
    """Return a prompt of a table after the token for the beginning; an error if it has it."""
    for key, tokens in (("clean", prompt.tokens), ("corrupted", prompt.reference)):
        if tokens is not None and tokens[0] == token:
            raise CntbenchError(
                f"begins with token {token}, for the beginning of a text, which the task's bos = "
                "true puts there as well",
                where=f"{prompt.origin}: {key}",
                hint="Leave out one of the two.",
            )
    return prompt.after(token)


def read_task(path: Path) -> Task:
    """Read the task of a TOML file, or raise a `SpecError`."""
    where = str(path)
    spec = build(TaskSpec, read_toml(path), where=where)
    module = plugins.find("generator", spec.generator, where=where)
    generator = build(module.Parameters, spec.parameters, where=where, prefix="parameters.")
    table = generator.at(path.parent) if hasattr(generator, "at") else None
    return Task(
        path.stem,
        path,
        control=path.parent.name == "controls",
        needs_text=getattr(module, "NEEDS_TEXT", False),
        spec=spec,
        make=generator.make if table is None else None,
        table=table,
    )


def task_of_file(path: Path, answer: str | None = None, where: str | None = None) -> Task:
    """Return the task of a file of prompts, called by its name.

    ``answer`` says what is scored for answers of several tokens, and ``where`` who says it.
    """
    parameters = {"path": path.name, **_scored(answer, where)}
    return _own(path.stem, path, file.Parameters(**parameters).at(path.parent), parameters)


def task_in_memory(
    prompts: Any, name: Any, where: str, answer: str | None = None
) -> tuple[Task, int]:
    """Return the task of prompts in memory, under a name, and their number.

    ``answer`` says what is scored for answers of several tokens.
    """
    if not isinstance(name, str):
        raise CntbenchError(
            "prompts of your own are one task", where=where, hint='Name it: task = "…".'
        )
    if is_table(name):
        raise CntbenchError(
            f"task = {shown(name)} is a file of prompts, and prompts of your own are given as well",
            where=where,
            hint="Pass one of the two; the name of prompts does not end as that of a file.",
        )
    parameters = _scored(answer, where)
    where = f"{where}: prompts"
    rows = rows_in_memory(prompts, where)
    table = PromptTable(where, given=rows, **parameters)
    return _own(name, Path(), table, parameters), len(rows)


def _scored(answer: str | None, where: str | None) -> dict[str, Any]:
    """Return the parameter of what is scored, if there is one; raise an error if it is unknown."""
    if answer is None:
        return {}
    allowed = get_args(AnswerRule)
    if not isinstance(answer, str) or answer not in allowed:
        hint = nearest(shown(answer), allowed)
        raise CntbenchError(f"answer = {shown(answer)} is not allowed", where=where, hint=hint)
    return {"answer": answer}


def _own(name: str, path: Path, table: PromptTable, parameters: dict[str, Any]) -> Task:
    spec = TaskSpec(
        version=1,
        summary="A user's own prompts.",
        generator="file",
        learnt="The right answer.",
        not_learnt="Another one.",
        parameters=parameters,
    )
    return Task(name, path, control=False, needs_text=True, spec=spec, make=None, table=table)


def without_prose(spec: Any) -> dict[str, Any]:
    """Return a spec as plain data, without what changes no number."""
    return {key: value for key, value in as_dict(spec).items() if key not in _PROSE}


def misfit(prompts: Prompts, vocabulary: int) -> str | None:
    """Return what a model with this vocabulary could not read in the prompts, or None."""
    for tokens in (prompts.tokens, prompts.reference, prompts.targets, prompts.decoys):
        used = tokens[tokens != PADDING] if tokens is not None else np.zeros(0, dtype=np.int64)
        outside = used[(used < 0) | (used >= vocabulary)]
        if len(outside):
            return f"token {outside[0]}, which is outside the vocabulary of {vocabulary}"
    used = prompts.scored != PADDING
    for name in ("targets", "decoys"):
        answers = getattr(prompts, name)
        first = answers if answers.ndim == 2 else answers[..., 0]
        if first.shape != used.shape or ((first != PADDING) != used).any():
            return f"{name} that are not one for each scored position"
    ends = lengths(prompts.tokens)[:, None]
    beyond = used & ((prompts.scored < 0) | (prompts.scored >= ends))
    return "a scored position outside its prompt" if beyond.any() else None
