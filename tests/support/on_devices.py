"""Devices that a test runs on: the processor everywhere, a GPU where there is one (`-m gpu` runs those alone)."""

import pytest

ON_EVERY_DEVICE = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
