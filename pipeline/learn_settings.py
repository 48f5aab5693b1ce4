"""What `sluice learn` may be told: read once from a YAML file and `--set`, checked at once, frozen from then on.

The values are those of `actors.learn` themselves, so that a setting and what it sets are described in one place;
here is only which of them there are, and what a name that is none of them is answered with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field, GetCoreSchemaHandler
from pydantic.dataclasses import dataclass as validated
from pydantic_core import CoreSchema

from actors.learn.labels import Columns
from actors.learn.recipe import Augmentation, Recipe, Teacher
from actors.learn.roles import SHARES, Role
from actors.learn.threshold import Wish
from actors.pairs import PairTemplate
from actors.rubric import SEVERE_OR_NOT, Rubric
from pipeline.settings import Section, Sourced, checked
from pipeline.settings_sources import Sources


class Closed:
    """Marks a dataclass of `actors` as a group of settings: checked, and closed to unknown names."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401
        return handler(validated(source, config=ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)))


def _some_share(shares: dict[Role, float]) -> dict[Role, float]:
    if not sum(shares.values()) > 0:
        raise ValueError("at least one role needs a share above 0")
    return shares


class LabelsSection(Section):
    """Where the labels are, and how they are to be read."""

    paths: tuple[Path, ...] = ()
    """Parquet or JSON lines."""
    columns: Annotated[Columns, Closed] = Columns()
    """Which column is what."""
    rubric: Annotated[Rubric, Closed] = SEVERE_OR_NOT
    """Levels with their gains, and which of them are severe."""
    shares: Annotated[
        dict[Role, Annotated[float, Field(ge=0, allow_inf_nan=False)]], AfterValidator(_some_share)
    ] = Field(default_factory=lambda: dict(SHARES))
    """Expected share of the clusters for each role, at least one above 0."""
    seed: int = 0
    """Draws the roles."""
    known: str | None = None
    """Address of an earlier bundle, whose queries keep their roles."""
    accept: tuple[str, ...] = ()
    """Kinds of problems that the audit finds, and that training may pass."""


class ModelSection(Section):
    """The encoder that is fine-tuned."""

    name: str = "sluice"
    """What people call the bundle."""
    base: str = "sentence-transformers/all-MiniLM-L6-v2"
    """Hub id or folder of a pretrained encoder."""
    template: Annotated[PairTemplate, Closed] = PairTemplate()
    """Which fields make up the two texts."""
    prior: bool = True
    """Whether what the words of a pair say is added to the encoder's logit."""


class PolicySection(Section):
    """What the operator asks of the thresholds."""

    wish: Annotated[Wish, Closed] = Wish()
    """The promise, and the share for people."""
    traffic: Path | None = None
    """A window of traffic that was not chosen by score, Parquet or JSON lines; null takes the pairs of the roles
    that prove nothing, `dev` and `map`, for it."""
    record: Path | None = None
    """File that holds the tries on these labels; null keeps this one in the bundle alone."""
    isotonic: bool = False
    """Fit an isotonic map instead of Platt's: for thousands of pairs of the role `map`."""


class LearnSettings(Section, Sourced):
    """Everything that makes a bundle from labels."""

    labels: LabelsSection = LabelsSection()
    model: ModelSection = ModelSection()
    recipe: Annotated[Recipe, Closed] = Recipe()
    """How the encoder learns."""
    teacher: Annotated[Teacher, Closed] = Teacher()
    """Whom it learns from beside the labels."""
    augment: Annotated[Augmentation, Closed] = Augmentation()
    """What is made from the labelled pairs."""
    policy: PolicySection = PolicySection()


def load_learn(path: Path | None, overrides: Sequence[str] = ()) -> LearnSettings:
    """Read the settings from a YAML file and `--set` overrides.

    Args:
        path: YAML file; None for the overrides and the defaults alone.
        overrides: Each `dotted.name=value`; the value is read as YAML.

    Returns:
        The settings, checked and frozen.

    Raises:
        SettingsError: A file, name or value is wrong; it names the setting and where it came from.
    """
    environment: Mapping[str, Any] = {}  # that of a gate, whose names are others
    return checked(LearnSettings, Sources.read(path, environment, overrides))
