"""GPUs of a machine: what is found through NVIDIA's library, and what commands are told.

`FakeNvml` is what we take the library for. `check_contract` holds it and the real one to that: without a
driver the real one must refuse as the fake of such a machine does.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from alb_worker.shell.gpus import (
    BINDING,
    DRIVER,
    NoGpus,
    NvidiaGpus,
    find_gpus,
    gpu_environment,
    model_labels,
)


class FakeNvml(ModuleType):
    """The part of ``pynvml`` that is used.

    Args:
        models: Of its GPUs; None: no driver is there.
    """

    class NVMLError(Exception):
        """What every function raises."""

    def __init__(self, models: list[str | bytes] | None = None) -> None:
        super().__init__("fake_nvml")
        self.models = models
        self.rates = [25] * len(models or ())
        self.broken = False

    def nvmlInit(self) -> None:  # noqa: N802 (the library's name)
        """Find the driver."""
        if self.models is None:
            raise self.NVMLError("NVML Shared Library Not Found")

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        """Count the GPUs."""
        return len(self.models or ())

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        """Return what names a GPU, in the order of the bus."""
        if not 0 <= index < self.nvmlDeviceGetCount():
            raise self.NVMLError("Invalid Argument")
        return index

    def nvmlDeviceGetName(self, handle: int) -> str | bytes:  # noqa: N802
        """Return its model: as bytes in older versions."""
        assert self.models is not None
        return self.models[handle]

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:  # noqa: N802
        """Return which part of the last moment it was busy, in percent."""
        if self.broken:
            raise self.NVMLError("GPU is lost")
        return SimpleNamespace(gpu=self.rates[handle], memory=0)


def check_contract(nvml: Any, *, driver: bool) -> None:
    """What `NvidiaGpus` takes for granted: GPUs have names and are busy for a part; no driver, an OSError."""
    if not driver:
        with pytest.raises(OSError, match="Not Found"):
            NvidiaGpus(nvml)
        return
    gpus = NvidiaGpus(nvml)
    assert all(isinstance(model, str) and model for model in gpus.models())
    assert len(gpus.busy()) in (0, len(gpus.models()))
    assert all(0 <= busy <= 1 for busy in gpus.busy())


def test_the_fake_keeps_the_contract() -> None:
    """With GPUs, and without a driver."""
    check_contract(FakeNvml(["NVIDIA A100", b"Tesla T4"]), driver=True)
    check_contract(FakeNvml(), driver=False)


def test_the_real_library_keeps_the_contract() -> None:
    """Whatever this machine has."""
    check_contract(importlib.import_module(BINDING), driver=DRIVER.exists())


def test_a_driver_that_stops_answering_measures_nothing() -> None:
    """The worker lives on."""
    nvml = FakeNvml(["a", "b"])
    gpus = NvidiaGpus(nvml)
    assert gpus.busy() == (0.25, 0.25)
    nvml.broken = True
    assert gpus.busy() == ()


def test_a_machine_is_searched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With the library what it finds; without, none, and a note where a driver shows that there are some."""
    monkeypatch.setitem(sys.modules, "fake_nvml", FakeNvml(["NVIDIA A100"]))
    gpus, notes = find_gpus("fake_nvml", tmp_path)
    assert (gpus.models(), notes) == (("NVIDIA A100",), [])
    gpus, notes = find_gpus("no_such_binding", tmp_path)
    assert isinstance(gpus, NoGpus)
    assert (gpus.models(), gpus.busy()) == ((), ())
    assert "alb[gpu]" in notes[0].fields["why"]
    assert find_gpus("no_such_binding", tmp_path / "none")[1] == []
    monkeypatch.setitem(sys.modules, "fake_nvml", FakeNvml())
    assert "Not Found" in find_gpus("fake_nvml", tmp_path)[1][0].fields["why"]


def test_models_are_labels() -> None:
    """Each once, in characters that a label may have."""
    assert model_labels(["NVIDIA A100-SXM4 (40,GB)", "NVIDIA A100-SXM4 (40,GB)", "T4"]) == (
        "gpu-model=NVIDIA-A100-SXM4-40-GB",
        "gpu-model=T4",
    )


def test_a_command_is_told_its_own() -> None:
    """Counted as the driver counts; who has none sees none."""
    assert gpu_environment((0, 3)) == {
        "ALB_GPUS": "0,3",
        "CUDA_VISIBLE_DEVICES": "0,3",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    }
    assert gpu_environment(())["CUDA_VISIBLE_DEVICES"] == ""
