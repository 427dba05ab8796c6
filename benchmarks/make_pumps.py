"""Write search_spaces/data/pumps.csv: readings of pumps, made up from a seed; the example of a mixed table with gaps.

60 pumps at five sites are read ten times each. How fast a pump runs decides its flow, pressure and power, its site and
the season how warm it is, its age how it shakes. Late readings of twelve pumps are of worn ones: they press less and
shake and heat more than a pump that runs so should.

    python benchmarks/make_pumps.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).parent.parent / "search_spaces" / "data" / "pumps.csv"
SITES = {"North": 9.0, "Harbour": 14.0, "Old Town": 17.0, "Quarry": 12.0, "Airport": 15.0}  # degrees in the mean
MODELS = {"KX-40": (4.0, 40.0), "KX-80": (6.0, 80.0), "Duplex": (9.0, 60.0), "M2": (3.0, 25.0)}  # bar and m3/h
PUMPS, READINGS, WORN = 60, 10, 12


def pumps(seed: int) -> pd.DataFrame:
    """The table, with missing cells."""
    draw = np.random.default_rng(seed)
    rows = PUMPS * READINGS
    pump = np.repeat(np.arange(PUMPS), READINGS)
    site = draw.choice(list(SITES), PUMPS, p=[0.3, 0.25, 0.2, 0.15, 0.1])[pump]
    model = draw.choice(list(MODELS), PUMPS, p=[0.4, 0.3, 0.22, 0.08])[pump]
    bar, flow = (np.array([MODELS[name][place] for name in model]) for place in range(2))
    installed = (np.datetime64("2012-01-01") + draw.integers(0, 3600, PUMPS))[pump]
    days = np.sort(draw.integers(0, 365, (PUMPS, READINGS)), axis=1).reshape(-1)
    read = np.datetime64("2024-01-01") + days
    age = (read - installed).astype(int)
    hours = age * draw.uniform(8, 20, PUMPS)[pump]
    speed = draw.uniform(0.5, 1.0, rows)
    filtered = draw.random(PUMPS)[pump] < 0.6
    air = np.array([SITES[name] for name in site]) - 9 * np.cos(2 * np.pi * days / 365)
    worn = (pump % (PUMPS // WORN) == 0) & (np.arange(rows) % READINGS >= READINGS - 2)

    inlet = draw.normal(1.2, 0.1, rows) + 0.4 * filtered
    outlet = inlet + bar * speed**2 * np.where(worn, 0.72, 1.0) + draw.normal(0, 0.05, rows)
    table = pd.DataFrame(
        {
            "pump_id": [f"P-{number + 1:03d}" for number in pump],
            "read": read,
            "site": site,
            "model": model,
            "installed": installed,
            "hours": hours.round(),
            "inlet_bar": inlet.round(3),
            "outlet_bar": outlet.round(3),
            "flow_m3h": (flow * speed + draw.normal(0, 0.8, rows)).round(2),
            "power_kw": (flow * bar / 25 * speed**3 * draw.normal(1, 0.03, rows)).round(3),
            "temperature_c": (air + 25 * speed**2 + np.where(worn, 14, 0) + draw.normal(0, 1, rows)).round(1),
            "vibration_mm_s": (
                1 + 2 * speed + hours / 30_000 + np.where(worn, 2.5, 0) + draw.normal(0, 0.15, rows)
            ).round(2),
            "filter": np.where(filtered, "yes", "no"),
            "alarms": draw.poisson(0.3 + 1.5 * speed**4 + np.where(worn, 2, 0)),
            "state": np.where(worn, "worn", "ok"),
        }
    )
    for name, share in {"inlet_bar": 0.06, "temperature_c": 0.08, "model": 0.03, "filter": 0.02, "hours": 0.04}.items():
        table[name] = table[name].astype(object).where(draw.random(rows) >= share, None)
    return table


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, nargs="?", default=HERE)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    asked.output.parent.mkdir(exist_ok=True)
    pumps(asked.seed).to_csv(asked.output, index=False, lineterminator="\n")


if __name__ == "__main__":
    main()
