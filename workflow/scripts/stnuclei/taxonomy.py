"""Classes of nuclei: names, ids and colours, as data."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from stnuclei.errors import UserError, suggestion
from stnuclei.resources import resource

# Between the classes of an undecided cell, in the column `alternatives` of label tables.
SEPARATOR = "|"
# Sets of classes are bits of an int32: bit 0 is the background.
MOST_CLASSES_IN_SETS = 30
# Names in tables of scores for what is no class.
_TAKEN = ("Background", "Unpaired")
_ROLES = ("epithelial", "neoplastic")
_COLOR = re.compile(r"#[0-9a-fA-F]{6}$")


@dataclass(frozen=True)
class NucleusClass:
    """One class of nuclei.

    Parameters
    ----------
    id
        Channel of the type map: 1 and up; 0 is background, -1 the unlabelled nucleus.
    name
        The name in every table.
    color
        ``#rrggbb``, the same in every figure and export.
    expression
        Whether gene expression can give this label (PanNuke's Dead cannot).
    """

    id: int
    name: str
    color: str
    expression: bool = True

    def check(self, where: str) -> None:
        """Raise a `UserError` where a file gives another type or form."""
        if not isinstance(self.name, str) or not self.name or self.name in _TAKEN or SEPARATOR in self.name:
            words = f"hold {SEPARATOR!r}, which separates classes, nor be {' or '.join(_TAKEN)}"
            raise UserError(f"{where}: class name {self.name!r} must not be empty, nor {words}")
        if not isinstance(self.color, str) or not _COLOR.match(self.color):
            raise UserError(f"{where}: colour of {self.name} must be #rrggbb in quotation marks, not {self.color!r}")
        if not isinstance(self.expression, bool):
            raise UserError(f"{where}: expression of {self.name} must be true or false, not {self.expression!r}")


@dataclass(frozen=True)
class Taxonomy:
    """The classes a model tells apart.

    Parameters
    ----------
    name
        Name of the taxonomy.
    classes
        The classes in the order of their ids 1..n.
    unknown
        The label of nuclei without a class (id -1): kept as nuclei, left out of the class loss.
    roles
        Which class plays which part in labelling: ``epithelial`` is refined into ``neoplastic``.
    rules
        Optional (regular expression, class) pairs that map cell-type names to classes ahead of the shipped rules.
    categories
        Optional map from the shipped rules' categories (Epithelial, Inflammatory, ...) to this taxonomy's classes.
    collapse
        Coarser taxonomy -> map of every class of this one to a class of that.
    """

    name: str
    classes: tuple[NucleusClass, ...]
    unknown: NucleusClass
    roles: Mapping[str, str]
    rules: tuple[tuple[str, str], ...] = ()
    category_map: Mapping[str, str] | None = None
    collapse: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @classmethod
    def load(cls, source: str | Path | Taxonomy) -> Taxonomy:
        """Read a shipped taxonomy by name or a user's own YAML file by path.

        Raises
        ------
        UserError
            If the file is absent or does not describe a taxonomy.
        """
        if isinstance(source, Taxonomy):
            return source
        path = Path(source) if str(source).endswith((".yaml", ".yml")) else _shipped(str(source))
        if not path.is_file():
            raise UserError(f"taxonomy {path}: no such file; name a shipped one or a YAML file")
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise UserError(f"taxonomy {path}: is no YAML ({' '.join(str(error).split())[:160]})") from None
        known = [entry.name for entry in fields(cls)]
        for key in content if isinstance(content, dict) else ():
            if key not in known:
                raise UserError(f"{path}: unknown key {key!r}; {suggestion(key, known)}")
        return cls.from_dict(content, where=str(path))

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], where: str = "taxonomy") -> Taxonomy:
        """Build from the content of a taxonomy file (or of a checkpoint).

        Raises
        ------
        UserError
            If a key is missing, an id is doubled or out of order, or a colour is not ``#rrggbb``.
        """
        try:
            classes = tuple(NucleusClass(**entry) for entry in content["classes"])
            unknown = NucleusClass(id=-1, **{k: v for k, v in content["unknown"].items() if k != "id"})
            name, roles = content["name"], dict(content.get("roles") or {})
            maps = dict(content.get("category_map") or {}), dict(content.get("collapse") or {})
            rules = tuple((str(pattern), str(target)) for pattern, target in content.get("rules") or ())
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"{where}: a taxonomy needs name, classes (id, name, color) and unknown (name, color), and rules are "
                f"pairs of pattern and class: {error}"
            ) from None
        taxonomy = cls(name, classes, unknown, roles, rules, maps[0] or None, maps[1])
        taxonomy._check(where)
        return taxonomy

    def _check(self, where: str) -> None:
        if [c.id for c in self.classes] != list(range(1, len(self.classes) + 1)):
            raise UserError(f"{where}: class ids must be 1, 2, ... in order; found {[c.id for c in self.classes]}")
        names = [c.name for c in self.classes] + [self.unknown.name]
        if len(set(names)) != len(names):
            raise UserError(f"{where}: class names must differ; found {names}")
        for entry in (*self.classes, self.unknown):
            entry.check(where)
        for role in self.roles:
            if role not in _ROLES:
                raise UserError(f"{where}: unknown role {role!r}; {suggestion(role, _ROLES)}")
        for pattern, target in self.rules:
            try:
                re.compile(pattern)
            except re.error as error:
                raise UserError(f"{where}: pattern {pattern!r} of {target} is no regular expression: {error}") from None
        targets = [*self.roles.values(), *(t for _, t in self.rules), *(self.category_map or {}).values()]
        for target in targets:
            if target not in names:
                raise UserError(f"{where}: {target!r} is named in roles, rules or category_map but is no class")

        for coarse, classes in self.collapse.items():
            missing = set(self.names) - set(classes)
            if missing or set(classes) - set(self.names):
                wrong = sorted(missing or set(classes) - set(self.names))
                raise UserError(f"{where}: collapse.{coarse} must map each class once; look at {', '.join(wrong)}")

    def collapsed(self, labels: Iterable[str], taxonomy: str | Taxonomy = "pannuke") -> np.ndarray:
        """Labels in a coarser taxonomy, str array (n,); Unknown stays Unknown.

        Raises
        ------
        UserError
            If this taxonomy has no map to that one, or a label is none of its classes.
        """
        coarse = Taxonomy.load(taxonomy)
        if coarse.name not in self.collapse:
            raise UserError(f"taxonomy {self.name} does not collapse to {coarse.name}; add it to the file's collapse")
        names = {**self.collapse[coarse.name], self.unknown.name: coarse.unknown.name}
        labels = [str(label) for label in labels]
        for label in set(labels) - set(names):
            self.id_of(label)
        return np.array([names[label] for label in labels], dtype=str)

    @property
    def names(self) -> tuple[str, ...]:
        """Class names in the order of ids, without background and Unknown."""
        return tuple(c.name for c in self.classes)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names that labelling can give: the classes expression can tell, then Unknown."""
        return (*(c.name for c in self.classes if c.expression), self.unknown.name)

    @property
    def n_outputs(self) -> int:
        """Channels of the type map: the classes and the background."""
        return len(self.classes) + 1

    def role(self, role: str) -> str | None:
        """Name of the class that plays `role`, None where none does."""
        return self.roles.get(role)

    def category(self, name: str) -> str:
        """Class of one of the shipped rules' categories (identity without a `category_map`), else Unknown's name."""
        target = (self.category_map or {}).get(name, name)
        return target if target in self.names else self.unknown.name

    def id_of(self, name: str) -> int:
        """Id of a class name; -1 for Unknown.

        Raises
        ------
        UserError
            If the taxonomy has no such class.
        """
        for entry in (*self.classes, self.unknown):
            if entry.name == name:
                return entry.id
        raise UserError(f"label {name!r} is not in taxonomy {self.name} ({', '.join(self.labels)})")

    def name_of(self, class_id: int) -> str:
        """Name of a class id; ``Background`` for 0."""
        if class_id == 0:
            return "Background"
        return self.unknown.name if class_id < 0 else self.classes[class_id - 1].name

    def color_of(self, name: str) -> str:
        """Colour ``#rrggbb`` of a class name."""
        class_id = self.id_of(name)
        return self.unknown.color if class_id < 0 else self.classes[class_id - 1].color

    def encode(self, labels: Iterable[str]) -> np.ndarray:
        """Class ids, int8 shape (n,), of class names; -1 for Unknown.

        Raises
        ------
        UserError
            If a name is not in the taxonomy.
        """
        names = [str(name) for name in labels]
        ids = {name: self.id_of(name) for name in dict.fromkeys(names)}
        return np.array([ids[name] for name in names], dtype=np.int8)

    def encode_sets(self, labels: Iterable[str], alternatives: Iterable[str]) -> np.ndarray:
        """Classes allowed for each cell, as bits.

        Parameters
        ----------
        labels
            (n,) class names: the most probable class.
        alternatives
            (n,) classes among which the label could not be decided, joined by ``|``, the label among them; empty: the
            label alone.

        Returns
        -------
        int32 (n,): bit c is set where class id c is allowed; 0 for Unknown.

        Raises
        ------
        UserError
            If a name is not in the taxonomy, a set lacks its label or holds Unknown, or there are too many classes.
        """
        bits: dict[tuple[str, str], int] = {}
        values = []
        for pair in zip(map(str, labels), map(str, alternatives), strict=True):
            if pair not in bits:
                bits[pair] = self._bits(*pair)
            values.append(bits[pair])
        return np.array(values, dtype=np.int32)

    def _bits(self, label: str, alternatives: str) -> int:
        """Allowed classes of one label and its alternatives."""
        names = alternatives.split(SEPARATOR) if alternatives else [label]
        if label not in names:
            raise UserError(f"alternatives {alternatives!r} do not hold the label {label!r}")
        ids = [self.id_of(name) for name in names]
        if len(ids) > 1 and min(ids) < 1:
            raise UserError(f"alternatives {alternatives!r} hold {self.unknown.name!r}, which is no class")
        if max(ids) > MOST_CLASSES_IN_SETS:
            raise UserError(f"alternatives need a taxonomy of at most {MOST_CLASSES_IN_SETS} classes, not {max(ids)}")
        return sum(1 << class_id for class_id in ids if class_id > 0)

    def to_dict(self) -> dict[str, Any]:
        """Plain content, as a checkpoint carries it."""
        return {
            "name": self.name,
            "classes": [asdict(c) for c in self.classes],
            "unknown": {"name": self.unknown.name, "color": self.unknown.color},
            "roles": dict(self.roles),
            "rules": [list(rule) for rule in self.rules],
            "category_map": dict(self.category_map) if self.category_map else None,
            "collapse": {name: dict(classes) for name, classes in self.collapse.items()},
        }


def _shipped(name: str) -> Path:
    folder = resource("taxonomies")
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in known:
        raise UserError(f"taxonomy {name!r} is not shipped; {suggestion(name, known)}, or give a path to a YAML file")
    return folder / f"{name}.yaml"
