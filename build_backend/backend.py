"""Our PEP 517 and 660 build backend: setuptools, once pymesos is in place (see `vendoring`)."""

import sys

import vendoring
from setuptools import build_meta
from setuptools.build_meta import (
    build_sdist,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]


def get_requires_for_build_wheel(config_settings=None):
    return build_meta.get_requires_for_build_wheel(config_settings) + _pip_if_needed()


def get_requires_for_build_editable(config_settings=None):
    return build_meta.get_requires_for_build_editable(config_settings) + _pip_if_needed()


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    _vendor()
    return build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    _vendor()
    return build_meta.build_editable(wheel_directory, config_settings, metadata_directory)


def _pip_if_needed():
    """The build environment is isolated: the pip that runs the build is not visible inside it."""
    return [] if vendoring.is_current() else ["pip>=23.2"]


def _vendor():
    try:
        vendoring.vendor()
    except vendoring.VendoringError as error:
        sys.exit(f"serenity: {error}")  # one line; the frontend shows it without a traceback
