"""Predictors: what production will use at most, from what it has used; by name."""

from __future__ import annotations

from collections.abc import Mapping

from serenity.estimator.predictors.ahead import Ahead, AheadParameters
from serenity.estimator.predictors.ema import Ema, EmaParameters
from serenity.estimator.predictors.histogram import Histogram, HistogramParameters
from serenity.estimator.predictors.last import Last, LastParameters
from serenity.estimator.predictors.n_sigma import NSigma, NSigmaParameters
from serenity.estimator.predictors.peak import Peak, PeakParameters
from serenity.estimator.predictors.prediction import Predictor
from serenity.qos.stages import Kind

DEFAULT_PREDICTOR = "ahead"

PREDICTORS: Mapping[str, Kind[Predictor]] = {
    "ahead": Kind(Ahead, AheadParameters),
    "ema": Kind(Ema, EmaParameters),
    "histogram": Kind(Histogram, HistogramParameters),
    "last": Kind(Last, LastParameters),
    "n_sigma": Kind(NSigma, NSigmaParameters),
    "peak": Kind(Peak, PeakParameters),
}
