"""Read zip files that stable-baselines3 saved, without executing anything in them.

``data`` is JSON. A value that JSON cannot hold appears in it as a pickle, which is never read, and as text, which is.
``policy.pth`` has the weights, which torch loads with ``weights_only``. All other files are ignored.
"""

import io
import json
import pickle
import zipfile
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.base.errors import GatitoError, damage_as
from benchmarks.base.files import content_digest
from benchmarks.tasks import Task
from experts.recipe import ExpertRecipe

if TYPE_CHECKING:
    import torch  # imported inside functions elsewhere: a list of tasks does not need it

_MOST_SETTINGS, _MOST_WEIGHTS = 2**26, 2**30  # bytes
_PICKLED = ":serialized:"
NORMALIZER = "vecnormalize.pkl"


@dataclass(frozen=True)
class SavedModel:
    """The content of a zip.

    Attributes:
        settings: the JSON's plain values, and the texts of pickled ones, by name.
        weights: the policy's weights by name.
    """

    settings: Mapping[str, Any]
    weights: Mapping[str, "torch.Tensor"]


def model_path(task: Task, recipe: ExpertRecipe) -> Path:
    """The path of the zip of a task's expert.

    Raises:
        GatitoError: if no zip is named, or the file does not exist.
    """
    short = task.name.partition("/")[2]
    if recipe.model is None:
        raise GatitoError(f"task {task.name} has no model: name one with +experts.models.{short}=PATH.zip.")
    path = Path(recipe.model)
    if not path.is_file():
        raise GatitoError(
            f"the model {path} of task {task.name} is no file: give the path of a zip that stable-baselines3 saved, "
            f"+experts.models.{short}=PATH.zip."
        )
    return path


def normalizer_path(task: Task, recipe: ExpertRecipe) -> Path | None:
    """The path of a model's VecNormalize: as named, or where RL-Zoo and gatito write it; None if there is none.

    Raises:
        GatitoError: if the named file does not exist.
    """
    if recipe.normalizer is not None:
        path = Path(recipe.normalizer)
        if not path.is_file():
            raise GatitoError(
                f"the statistics {path} of task {task.name} are no file: give the path of a {NORMALIZER} with "
                f"+experts.normalizers.{task.name.partition('/')[2]}=PATH."
            )
        return path
    model = model_path(task, recipe)
    env_id = task.env_id.rpartition(":")[2]
    folders = (model.with_suffix(""), model.parent / env_id, model.parent / env_id.replace("/", "-"), model.parent)
    places = [folder / name for folder in folders for name in (NORMALIZER, "vec_normalize.pkl")]
    return next((place for place in places if place.is_file()), None)


def model_digests(task: Task, recipe: ExpertRecipe) -> dict[str, str]:
    """Digests of a model's zip and of its statistics, if it has any.

    Raises:
        GatitoError: if a file does not exist.
    """
    digests = {"zip": content_digest(model_path(task, recipe))}
    normalizer = normalizer_path(task, recipe)
    return digests if normalizer is None else digests | {"normalizer": content_digest(normalizer)}


def read_model(path: Path) -> SavedModel:
    """Read a zip that stable-baselines3 saved.

    Raises:
        GatitoError: if it is damaged or not such a file, larger than any expert, or its weights need pickle.
    """
    import torch

    with _damage_named(path):
        with zipfile.ZipFile(path) as archive:
            text = _member(path, archive, "data", _MOST_SETTINGS)
            content = _member(path, archive, "policy.pth", _MOST_WEIGHTS)
        settings = json.loads(text.decode(), object_hook=_without_pickles)
        if not isinstance(settings, dict):
            raise ValueError("its settings are none")
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _refuse_large(path, sum(part.file_size for part in archive.infolist()), _MOST_WEIGHTS)
        try:
            weights = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:
            raise GatitoError(
                f"the weights in {path} are no tensors alone, and would need pickle, which is never run: save the "
                "model anew with stable-baselines3."
            ) from None
        return SavedModel(settings, _checked(path, weights))


def _member(path: Path, archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    if name not in archive.namelist():
        raise GatitoError(f"{path} has no {name}: it is not a model that stable-baselines3 saved.")
    _refuse_large(path, archive.getinfo(name).file_size, most)
    return archive.read(name)


def _refuse_large(path: Path, size: int, most: int) -> None:
    if size > most:
        raise GatitoError(f"{path} unpacks to more than {most:,} bytes, which no expert has: do not use it.")


def _without_pickles(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name != _PICKLED}


def _checked(path: Path, weights: object) -> dict[str, "torch.Tensor"]:
    import torch

    if not isinstance(weights, dict) or not weights:
        raise ValueError("its policy has no weights")
    total = 0
    for name, values in weights.items():
        plain = isinstance(values, torch.Tensor) and values.layout is torch.strided and not values.is_quantized
        if not isinstance(name, str) or not plain or values.device.type != "cpu":
            raise ValueError("its policy holds something other than weights")
        total += values.numel() * values.element_size()  # a view can have more numbers than the file
        _refuse_large(path, total, _MOST_WEIGHTS)
        if values.is_floating_point() and not bool(torch.isfinite(values).all()):
            raise GatitoError(f"{path}: the weights {name} are NaN or infinite: the training diverged, use another.")
    return dict(weights)


def _damage_named(path: Path) -> AbstractContextManager[None]:
    """Errors of zipfile, json and torch as one line."""
    return damage_as(
        lambda reason: (
            f"{path} is not a model that stable-baselines3 saved, or is damaged ({reason}): save or download it again."
        )
    )
