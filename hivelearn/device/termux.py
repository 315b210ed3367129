"""Android under Termux: what ``termux-battery-status`` prints (JSON, °C)."""

import json
from typing import Any, Final

from hivelearn.device import battery_health, plausible
from hivelearn.device.reading import Reading, Sensed, known, nothing, unknown

COMMAND: Final = ("termux-battery-status",)
_MOVING: Final = ("CHARGING", "DISCHARGING")
# A phone may be as cold as the street, and Android's unit is sure: only 0.0 means "none".
_AS_TOLD: Final = (1.0,)
_NO_IDLE: Final = "Android does not tell Termux when the screen was last touched"


def parse(text: str) -> Reading:
    """Return battery temperature, charge and charger of a phone."""
    try:
        fields = json.loads(text)
    except ValueError:  # an error page of the app, or nothing
        return nothing("termux-battery-status printed no JSON")
    if not isinstance(fields, dict):
        return nothing("termux-battery-status printed no object")
    if fields.get("present") is False:  # a box at a television: its figures mean nothing
        return Reading(
            has_battery=known(value=False), on_mains=_on_mains(fields), idle_s=unknown(_NO_IDLE)
        )
    celsius, percent = _number(fields, "temperature"), _number(fields, "percentage")
    charge = plausible.charge(percent, moving=fields.get("status") in _MOVING)
    felt = celsius is not None and celsius != 0 and plausible.believed(celsius, _AS_TOLD)
    return Reading(
        battery_c=known(celsius)
        if celsius is not None and felt
        else unknown("Android tells no temperature"),
        battery_percent=known(charge) if charge is not None else unknown("Android tells no charge"),
        battery_health=battery_health.worst([battery_health.word(fields.get("health"))]),
        has_battery=known(value=True),
        on_mains=_on_mains(fields),
        idle_s=unknown(_NO_IDLE),
    )


def _on_mains(fields: dict[str, Any]) -> Sensed[bool]:
    plugged = fields.get("plugged")
    if plugged == "UNPLUGGED":
        return known(value=False)
    if isinstance(plugged, str) and plugged.startswith("PLUGGED_"):
        return known(value=True)
    return unknown("Android does not tell whether it is plugged in")


def _number(fields: dict[str, Any], name: str) -> float | None:
    value = fields.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
