"""Android under Termux: what ``termux-battery-status`` prints (JSON, °C)."""

import json
from typing import Any, Final

from hivelearn.device.reading import Reading, known, nothing, unknown

COMMAND: Final = ("termux-battery-status",)
_NO_IDLE: Final = "Android does not tell Termux when the screen was last touched"


def parse(text: str) -> Reading:
    """Return battery temperature, charge and charger of a phone."""
    try:
        fields = json.loads(text)
    except ValueError:  # an error page of the app, or nothing
        return nothing("termux-battery-status printed no JSON")
    if not isinstance(fields, dict):
        return nothing("termux-battery-status printed no object")
    plugged = fields.get("plugged")
    celsius, percent = _number(fields, "temperature"), _number(fields, "percentage")
    return Reading(
        battery_c=known(celsius)
        if celsius is not None
        else unknown("Android tells no temperature"),
        battery_percent=known(percent)
        if percent is not None
        else unknown("Android tells no charge"),
        has_battery=known(value=True),
        on_mains=known(plugged != "UNPLUGGED")
        if isinstance(plugged, str) and plugged
        else unknown("Android does not tell whether it is plugged in"),
        idle_s=unknown(_NO_IDLE),
    )


def _number(fields: dict[str, Any], name: str) -> float | None:
    value = fields.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
