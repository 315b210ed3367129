"""Readings to Permit: may the machine learn now, and if not, why not.

One function without clock, thread or sensor, from the last permit and a new
reading to the next permit; a heat wave of three hours is a list in a test.

Work stops above ``hot`` and resumes below ``cool``; each of CPU, GPU and battery
remembers for itself (``Permit.cooling``) that it was too hot, so that a user's
pause in between does not erase a hot battery.

What is unknown is decided, never passed over: no battery and no sensor is a
plain desktop or a virtual machine (work, and say so); a battery and no
temperature may be a fanless laptop under a blanket (a quarter, on mains only).
"""

from datetime import time

from hivelearn.device.battery_health import TROUBLES
from hivelearn.device.limits import DeviceLimits
from hivelearn.device.permit import FULL, QUARTER, REST, Component, Permit
from hivelearn.device.reading import Reading, Sensed

_NAMES: dict[Component, str] = {"cpu": "The CPU", "gpu": "The GPU", "battery": "The battery"}


def decide(last: Permit, reading: Reading, limits: DeviceLimits, now_local: time) -> Permit:
    """Return the permit that follows ``last`` after ``reading``.

    Args:
        last: the permit before; only its ``cooling`` is looked at.
        reading: what the sensors say now.
        limits: what the user allows.
        now_local: the time of day where the machine stands.
    """
    cooling, heat = _heat(last.cooling, reading, limits)
    refusal = (
        _refused_by_user(reading, limits, now_local)
        or heat
        or _refused_by_health(reading)
        or _refused_by_power(reading, limits)
    )
    if refusal:
        return Permit(REST, refusal, cooling)
    doubts = _doubts(reading, limits)
    if doubts:
        return Permit(QUARTER, f"Working a quarter of the time: {'; '.join(doubts)}.", cooling)
    return Permit(FULL, _all_clear(reading), cooling)


def _heat(
    was_cooling: tuple[Component, ...], reading: Reading, limits: DeviceLimits
) -> tuple[tuple[Component, ...], str]:
    """Return who must cool down now, and the sentence about the first of them."""
    rows: tuple[tuple[Component, Sensed[float], float, float], ...] = (
        ("battery", reading.battery_c, limits.battery_hot_c, limits.battery_cool_c),
        ("cpu", reading.cpu_c, limits.cpu_hot_c, limits.cpu_cool_c),
        ("gpu", reading.gpu_c, limits.gpu_hot_c, limits.gpu_cool_c),
    )
    said: dict[Component, str] = {}
    for component, now, hot_c, cool_c in rows:
        name = _NAMES[component]
        if now.value is None:
            if component in was_cooling:  # blind is not cool
                said[component] = f"{name} was too hot and its sensor fell silent ({now.why})."
        elif not now.value <= hot_c:  # written so that NaN is hot
            said[component] = f"{name} is at {now.value:.0f} °C, above {hot_c:.0f} °C."
        elif component in was_cooling and not now.value < cool_c:
            said[component] = f"{name} is at {now.value:.0f} °C and cools down to {cool_c:.0f} °C."
    return tuple(said), next(iter(said.values()), "")


def _refused_by_user(reading: Reading, limits: DeviceLimits, now_local: time) -> str:
    if limits.paused:
        return "You paused it."
    if not limits.open_at(now_local):
        return f"It is {now_local:%H:%M}, outside the hours {limits.hours}."
    idle_s = reading.idle_s.value
    if idle_s is not None and idle_s < limits.idle_min_s:
        return (
            f"Somebody used this machine {idle_s:.0f} s ago; "
            f"work begins after {limits.idle_min_s:.0f} s."
        )
    return ""


def _refused_by_health(reading: Reading) -> str:
    said = reading.battery_health.value
    if said is None or said not in TROUBLES:
        return ""
    return f"The battery {TROUBLES[said]}, as it says itself ({said})."


def _refused_by_power(reading: Reading, limits: DeviceLimits) -> str:
    mains, battery = reading.on_mains, reading.has_battery
    if mains.value is False:
        return "The machine runs on battery."
    if mains.value is None and battery.value:
        return f"There is a battery, and no telling whether the charger is in ({mains.why})."
    percent = None if battery.value is False else reading.battery_percent.value
    if percent is not None and percent < limits.battery_min_percent:
        floor = limits.battery_min_percent
        return f"The battery is at {percent:.0f} % and charges to {floor:.0f} % first."
    return ""


def _doubts(reading: Reading, limits: DeviceLimits) -> list[str]:
    doubts = []
    blind = reading.cpu_c.value is None and reading.battery_c.value is None
    if blind and reading.has_battery.value:
        doubts.append("there is a battery and no temperature sensor")
    if reading.has_battery.value is None and (blind or reading.on_mains.value is None):
        doubts.append(f"no telling whether there is a battery ({reading.has_battery.why})")
    if limits.idle_min_s > 0 and reading.idle_s.value is None:
        doubts.append(f"no telling whether somebody sits here ({reading.idle_s.why})")
    return doubts


def _all_clear(reading: Reading) -> str:
    temperatures = {
        "CPU": reading.cpu_c.value,
        "GPU": reading.gpu_c.value,
        "battery": reading.battery_c.value,
    }
    felt = [f"{name} {c:.0f} °C" for name, c in temperatures.items() if c is not None]
    if felt:
        return f"Working: {', '.join(felt)}."
    return (
        "Working: there is no battery and no temperature sensor, so only the machine guards itself."
    )
