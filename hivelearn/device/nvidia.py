"""NVIDIA: temperatures through nvidia-ml-py, if that package and a driver are there."""

from functools import cache
from importlib import import_module
from typing import Any

from hivelearn.device import plausible
from hivelearn.device.reading import Reading, Sensed, known, unknown


def read() -> Reading:
    """Return the temperature of the hottest GPU; unknown with its reason if there is none."""
    library = open_driver()
    if library.value is None:
        return Reading(gpu_c=unknown(library.why))
    return Reading(gpu_c=hottest(library.value))


def hottest(nvml: Any) -> Sensed[float]:
    """Return the highest core temperature among the GPUs that ``nvml`` lists."""
    found = []
    try:
        for index in range(nvml.nvmlDeviceGetCount()):
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            found.append(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))
    except nvml.NVMLError as error:  # one silent GPU may be the hot one: all are unknown
        return unknown(f"the NVIDIA driver says: {error}")
    if not found:
        return unknown("the NVIDIA driver lists no GPU")
    if not all(plausible.believed(float(celsius), (1.0,)) and celsius for celsius in found):
        return unknown(f"the NVIDIA driver shows what is no temperature: {found}")
    return known(float(max(found)))


@cache  # opening the driver takes tens of milliseconds, once
def open_driver() -> Sensed[Any]:
    """Return the NVML library, opened; or why there is none."""
    try:
        nvml = import_module("pynvml")
        nvml.nvmlInit()
    except ImportError:
        return unknown("nvidia-ml-py is not installed")
    except Exception as error:  # noqa: BLE001 - NVMLError is known only after the import
        return unknown(f"there is no NVIDIA driver ({error})")
    return known(nvml)
