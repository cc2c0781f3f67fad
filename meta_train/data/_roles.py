"""Which data meta-training may read: all else is held out.

These names are the whole list. What is not on it is in no bundled family of tasks.
"""

from __future__ import annotations

IMAGES = (
    "mnist",
    "ahcd_arabic",
    "cifar100_20cls",
    "emnist_letters19",
    "notmnist",
    "omniglot_small1",
    "sign_digits_grey",
    "usps",
)
"""For `load_data`, beside the digits that scikit-learn carries."""

TEXTS = ("names", "quijote_parte1_es", "tinyshakespeare_en")
"""For `load_text`."""

CLASS_TABLES = (
    "c_adult",
    "c_bank_marketing",
    "c_chess",
    "c_magic",
    "c_mammography",
    "c_mushroom",
    "c_optdigits",
    "c_page_blocks0",
    "c_penbased",
    "c_phoneme",
    "c_segment",
    "c_spambase",
    "c_splice",
)
REGRESSION_TABLES = (
    "r_abalone",
    "r_energy",
    "r_gas",
    "r_keggdirected",
    "r_parkinsons",
    "r_pol",
    "r_power_plant",
    "r_skillcraft",
    "r_winequality",
)
TABLES = CLASS_TABLES + REGRESSION_TABLES
"""For `load_table`."""

SMALL_SIGNALS = (
    "Adiac",
    "SwedishLeaf",
    "MedicalImages",
    "PhalangesOutlinesCorrect",
    "ProximalPhalanxTW",
    "MoteStrain",
    "TwoLeadECG",
    "ECGFiveDays",
    "ItalyPowerDemand",
    "PowerCons",
    "Plane",
    "SonyAIBORobotSurface2",
    "GunPointAgeSpan",
    "Chinatown",
    "ECG200",
)
SIGNALS = ("ecg5000", "fsdd_logmel", *SMALL_SIGNALS)
"""For `load_signals`."""

SERIES = (
    "monthly_sunspots",
    "daily_min_temperature",
    "daily_max_temperature",
    "monthly_airline_passengers",
    "daily_female_births",
    "monthly_mean_temp",
    "metro_hourly_temp_cloud_hour_traffic",
    "beijing_pm25_dewp_temp_pres_wind_snow_rain",
)
"""For `load_series`."""


def file_of(name: str) -> str | None:
    """The file that a data set is in, relative to `$NFN_DATA`; None for what needs no file.

    Raises:
        ValueError: If the data set is not for meta-training.
    """
    if name == "digits":
        return None
    if name == "mnist":
        return "mnist.npz"
    if name in SMALL_SIGNALS:
        return "signals/ucr_small15.npz"
    if name in SERIES:
        return "signals/series_mixed.npz"
    kinds = {"images": (IMAGES, "npz"), "tables": (TABLES, "npz"), "text": (TEXTS, "txt")}
    kinds["signals"] = (SIGNALS, "npz")
    for folder, (names, suffix) in kinds.items():
        if name in names:
            return f"{folder}/{name}.{suffix}"
    raise ValueError(f"the data set {name!r} is not for meta-training.")
