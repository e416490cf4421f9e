"""Arrays in JSON: shape, and the values as little-endian bytes in base64."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt


def pack(array: npt.NDArray[Any]) -> dict[str, Any]:
    kind = array.dtype.newbyteorder("<")
    return {
        "type": kind.str,
        "shape": list(array.shape),
        "values": base64.b64encode(array.astype(kind).tobytes()).decode(),
    }


def unpack(
    packed: Any,
    like: npt.NDArray[Any],
    containers: int,
    most: npt.ArrayLike,
    least: npt.ArrayLike = 0.0,
    *,
    may_lack: bool = False,
) -> npt.NDArray[Any]:
    """An array of the type and shape of `like`, but with `containers` places on its last axis.

    Its values lie from `least` to `most`, which broadcast to its shape.  With `may_lack`, values may also be NaN.

    Raises:
        ValueError: `packed` is no such array.
    """
    shape = (*like.shape[:-1], containers)
    kind = like.dtype.newbyteorder("<")
    if not isinstance(packed, Mapping) or packed.get("type") != kind.str or packed.get("shape") != list(shape):
        raise ValueError(f"there is no array of shape {shape}")
    try:
        values = base64.b64decode(packed["values"], validate=True)
    except (KeyError, TypeError, binascii.Error) as error:
        raise ValueError(f"an array that cannot be read: {error}") from error
    if len(values) != kind.itemsize * math.prod(shape):
        raise ValueError(f"an array of {len(values)} bytes where shape {shape} was promised")
    array = np.frombuffer(values, kind).reshape(shape).astype(like.dtype)
    within = (array >= least) & (array <= most)
    if not (within | np.isnan(array) if may_lack else within).all():
        raise ValueError(f"an array of shape {shape} has values that it never gets")
    return array
