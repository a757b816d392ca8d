"""Path-norm and Path-SGD, for networks of any shape."""

from ._checkpoint import write_atomically as write_atomically
from ._conv_net import ConvNet as ConvNet
from ._hidden_units import HiddenUnits as HiddenUnits, UnitEdges as UnitEdges
from ._images import Images as Images, cifar10 as cifar10, digits as digits, mnist as mnist
from ._initialization import balanced as balanced
from ._mlp import MLP as MLP
from ._path_norm import path_norm as path_norm, path_scaling as path_scaling
from ._path_sgd import path_sgd as path_sgd, scale_by_path_norm as scale_by_path_norm
from ._recurrent import LSTM as LSTM, RNN as RNN
from ._rescale import rescale as rescale, unbalanced as unbalanced
from ._support import SupportReport as SupportReport, support_report as support_report
from ._tasks import (
    AbstractTask as AbstractTask,
    AddingTask as AddingTask,
    ImageTask as ImageTask,
    TextTask as TextTask,
)
from ._text import Text as Text, text as text
from ._train import Trained as Trained, diverged as diverged, train as train
