"""Character models of names or of running text: trainer, run folders, sampling, and the n-gram to beat."""

from rnnx.charlm.config import TrainConfig
from rnnx.charlm.corpus import Vocabulary
from rnnx.charlm.model import CharModel
from rnnx.charlm.ngram import WittenBell
from rnnx.charlm.novelty import Novelty, novelty
from rnnx.charlm.run import Record, Run, RunFolder, load
from rnnx.charlm.sampling import Sampler
from rnnx.charlm.task import NamesTask, TextTask
from rnnx.charlm.trainer import Observer, Progress, Trainer

__all__ = [
    "CharModel",
    "NamesTask",
    "Novelty",
    "Observer",
    "Progress",
    "Record",
    "Run",
    "RunFolder",
    "Sampler",
    "TextTask",
    "TrainConfig",
    "Trainer",
    "Vocabulary",
    "WittenBell",
    "load",
    "novelty",
]
