"""Where a neural family computes: the processor, or a GPU that PyTorch sees.

Models are trained on the device and go back to the processor, where rows are drawn: a saved model and a seed give the
same rows on a machine with a GPU and on one without. Random numbers come from the processor's streams in both cases.
What was trained on a GPU is not the same to the last bit as what was trained on a processor, for their sums are added
up in another order.
"""

from __future__ import annotations

import re

import torch

from tabsynth.errors import InputError


def pick(device: str) -> torch.device:
    """Return the device of this name: "auto" (a GPU when there is one), "cpu", "cuda", or one GPU of several, "cuda:1".

    Raises InputError for another name, and for a GPU that PyTorch does not see.

    >>> pick("cpu")
    device(type='cpu')
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cpu":
        return torch.device("cpu")
    if not re.fullmatch(r"cuda(:\d+)?", str(device)):
        raise InputError(f'device must be "auto", "cpu", "cuda" or "cuda:0", "cuda:1" and so on; got {device!r}.')
    seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(device.partition(":")[2] or 0) >= seen:
        raise InputError(
            f'device {device!r} is not there: PyTorch sees {seen} GPUs. device="auto" takes one when there is one.'
        )
    return torch.device(device)
