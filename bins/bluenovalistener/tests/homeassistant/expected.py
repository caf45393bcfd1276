"""What Home Assistant is to show of a battery: each value's unit, device class and state class,
and its state, from the row."""

import math
import struct
from datetime import datetime, timezone

MEASUREMENT = "measurement"
VOLTS = ("V", "voltage", MEASUREMENT)
CELSIUS = ("°C", "temperature", MEASUREMENT)
COUNTER = (None, None, MEASUREMENT)
PLAIN = (None, None, None)

# Those that are enabled from the beginning.
MAIN = {
    "v_pack": VOLTS,
    "i_pack": ("A", "current", MEASUREMENT),
    "temp": CELSIUS,
    "v_cell_min": VOLTS,
    "v_cell_max": VOLTS,
    "soc": ("%", "battery", MEASUREMENT),
    "health": ("%", None, MEASUREMENT),
    "errors": PLAIN,
    "system_state": PLAIN,
    "charge_state": PLAIN,
    "power_w": ("W", "power", MEASUREMENT),
    "cell_spread_mv": ("mV", "voltage", MEASUREMENT),
    "cell_lowest": PLAIN,
    "cell_highest": PLAIN,
    "errors_present": (None, "problem", None),
    "breaker_open": (None, "opening", None),
    "energy_in_kwh": ("kWh", "energy", "total_increasing"),
    "energy_out_kwh": ("kWh", "energy", "total_increasing"),
    "time_to_empty_h": ("h", "duration", MEASUREMENT),
    "time_to_full_h": ("h", "duration", MEASUREMENT),
    "capacity_ah": ("Ah", None, MEASUREMENT),
    "weak_cell_present": (None, "problem", None),
    "weak_cells": PLAIN,
    "severity": PLAIN,
}
DETAILS = {
    "insert_time_utc": (None, "timestamp", None),
    "n_units": PLAIN,
    "unit_rank": PLAIN,
    "cell_count": PLAIN,
    "breaker": PLAIN,
    "energy_in": PLAIN,
    "energy_out": PLAIN,
    "adc_vp": VOLTS,
    "bad_crc": COUNTER,
    "parse_fail": COUNTER,
    "bad_vcell": COUNTER,
    **{f"adc_{channel}": VOLTS for channel in range(5)},
    **{f"cell_{cell:02}_v": VOLTS for cell in range(1, 17)},
    **{f"cell_{cell:02}_t": CELSIUS for cell in range(1, 17)},
}
BANK = {
    "soc": ("%", "battery", MEASUREMENT),
    "power_w": ("W", "power", MEASUREMENT),
    "batteries": PLAIN,
    "fresh": PLAIN,
}


# What the samples say, which no row has.
OF_SAMPLES = (
    "energy_in_kwh",
    "energy_out_kwh",
    "time_to_empty_h",
    "time_to_full_h",
    "capacity_ah",
    "weak_cell_present",
    "weak_cells",
)
UNKNOWABLE = object()


def classes(state):
    """Unit, device class and state class of a state."""
    attributes = state["attributes"]
    names = ("unit_of_measurement", "device_class", "state_class")
    return tuple(attributes.get(name) for name in names)


def states(row):
    """The state of each entity of a battery, from its row: a text, a number, a time, or a set where
    it may be any of several."""
    cells = {str(cell): row[f"cell_{cell:02}_v"] for cell in range(1, 17)}
    # In an interval of two seconds not every cell is reported.
    cells = {cell: voltage for cell, voltage in cells.items() if voltage is not None}
    computed = {
        "power_w": None,
        "cell_spread_mv": None,
        "cell_lowest": None,
        "cell_highest": None,
        "errors_present": None if row["errors"] is None else on_if(row["errors"] != "NONE"),
        "breaker_open": None if row["breaker"] is None else on_if(row["breaker"] != "CLOSED"),
    }
    if None not in (row["v_pack"], row["i_pack"]):
        computed["power_w"] = row["v_pack"] * row["i_pack"]
    if cells:
        lowest, highest = min(cells.values()), max(cells.values())
        computed["cell_spread_mv"] = (highest - lowest) * 1000
        computed["cell_lowest"] = {cell for cell in cells if cells[cell] == lowest}
        computed["cell_highest"] = {cell for cell in cells if cells[cell] == highest}
    of_samples = dict.fromkeys(OF_SAMPLES, UNKNOWABLE)
    return {**row, **computed, **of_samples, "severity": {"ok", "amber", "red"}}


def on_if(condition):
    return "on" if condition else "off"


def is_equal(key, shown, value):
    """Whether Home Assistant shows this value."""
    if value is UNKNOWABLE:
        return True
    if value is None or value == "":
        return shown == "unknown"
    if key == "insert_time_utc":
        return datetime.fromisoformat(shown) == time_of(value)
    if key in ("power_w", "cell_spread_mv"):
        # They are rounded to one digit behind the point.
        return math.isclose(float(shown), value, rel_tol=1e-6, abs_tol=0.051)
    if isinstance(value, set):
        return shown in value
    if isinstance(value, float):
        return single(float(shown)) == single(value)
    return shown == str(value)


def time_of(text):
    """The time that a row has as text."""
    return datetime.fromisoformat(text.rstrip("Z")).replace(tzinfo=timezone.utc)


def single(number):
    """The nearest number of single precision."""
    return struct.unpack("f", struct.pack("f", number))[0]
