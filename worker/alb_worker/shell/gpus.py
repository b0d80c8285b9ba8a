"""The NVIDIA GPUs of this machine: which there are, how busy they are, and how a command is told its own.

Behind a small interface, for few machines have any: `Gpus` is what the worker needs, `NvidiaGpus` has it from
NVIDIA's own library, as ``nvidia-ml-py`` (the extra ``alb[gpu]``) makes it callable.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from alb_core.notes import Level, Note

BINDING: Final = "pynvml"
#: The module of ``nvidia-ml-py``.
DRIVER: Final = Path("/proc/driver/nvidia")
#: Exists where NVIDIA's driver is loaded.
ORDER: Final = "PCI_BUS_ID"
#: How NVIDIA's library counts; CUDA counts by speed unless it is told.
_UNPRINTED: Final = re.compile(r"[^A-Za-z0-9_.-]+")


class Gpus(Protocol):
    """The GPUs of a machine, in the order of their indexes."""

    def models(self) -> tuple[str, ...]:
        """Return what each is called."""

    def busy(self) -> tuple[float, ...]:
        """Return which part of the last moment each was busy, from 0 to 1; empty: that cannot be read now."""


class NvidiaGpus:
    """Those that NVIDIA's driver knows.

    Args:
        nvml: The binding: its functions and ``NVMLError``.

    Raises:
        OSError: There is no driver, or it does not answer.
    """

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        try:
            nvml.nvmlInit()
            self._handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(_count(nvml))]
        except nvml.NVMLError as error:
            raise OSError(str(error)) from error

    def models(self) -> tuple[str, ...]:
        """Return what each is called."""
        try:
            return tuple(_text(self._nvml.nvmlDeviceGetName(handle)) for handle in self._handles)
        except self._nvml.NVMLError:
            return ("unknown",) * len(self._handles)

    def busy(self) -> tuple[float, ...]:
        """Return which part of the last moment each was busy; empty: the driver does not say."""
        try:
            rates = [self._nvml.nvmlDeviceGetUtilizationRates(handle) for handle in self._handles]
        except self._nvml.NVMLError:
            return ()
        return tuple(rate.gpu / 100 for rate in rates)


class NoGpus:
    """A machine without any that could be measured."""

    def models(self) -> tuple[str, ...]:
        """Return nothing: there are none."""
        return ()

    def busy(self) -> tuple[float, ...]:
        """Return nothing: there are none."""
        return ()


def find_gpus(binding: str = BINDING, driver: Path = DRIVER) -> tuple[Gpus, list[Note]]:
    """Look for GPUs.

    Args:
        binding: The module that speaks with NVIDIA's library.
        driver: Where the driver shows itself.

    Returns:
        Those of the machine, and what its operator should know.
    """
    try:
        return NvidiaGpus(importlib.import_module(binding)), []
    except ImportError:
        why = "pip install 'alb[gpu]' finds and measures GPUs; else offer them with --gpus"
    except OSError as error:
        why = str(error)
    return NoGpus(), [Note("gpus_unreadable", {"why": why}, Level.WARNING)] if driver.exists() else []


def model_labels(models: Sequence[str]) -> tuple[str, ...]:
    """Return the labels that tell the models, ``gpu-model=NVIDIA-A100``, each once."""
    return tuple(dict.fromkeys(f"gpu-model={_UNPRINTED.sub('-', model).strip('-')}" for model in models))


def gpu_environment(indexes: Sequence[int]) -> dict[str, str]:
    """Return what tells a command which GPUs are its own; with none of its own it sees none."""
    listed = ",".join(map(str, indexes))
    return {"ALB_GPUS": listed, "CUDA_VISIBLE_DEVICES": listed, "CUDA_DEVICE_ORDER": ORDER}


def _count(nvml: Any) -> int:
    return int(nvml.nvmlDeviceGetCount())


def _text(name: str | bytes) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else name
