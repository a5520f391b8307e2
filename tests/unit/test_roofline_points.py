"""Operations lie under the roofs of their device, at intensities that can be worked by hand."""

import numpy as np
import pytest
from conftest import deployed, device, serving_stack

from rooflinesim.analysis.operations import decode_ops
from rooflinesim.analysis.roofline import roofline


def test_points_are_those_of_the_operations():
    asked = deployed(stack=serving_stack())
    found = roofline(asked, batch=[4, 64], context=512)
    rows = {row.op: row for row in decode_ops(asked, batch=64, context=512)}
    assert {op.op for op in found.ops} == {name for name, row in rows.items() if row.flop}
    for op in found.ops:
        row = rows[op.op]
        assert op.intensity[1] == pytest.approx(row.intensity)
        assert op.time[1] == pytest.approx(row.time)
        assert op.share[1] == pytest.approx(row.share)
        assert op.flop_rate[1] == pytest.approx(row.flop / row.time)


def test_roofs_are_the_datasheets_and_the_reached_ones():
    found = roofline(deployed(stack=serving_stack()), batch=8)
    (roof,) = found.roofs
    assert (roof.math, roof.peak_flop_rate, found.peak_bandwidth) == ("bf16", 100e12, 1e12)
    assert (roof.flop_rate, found.bandwidth) == pytest.approx((74e12, 0.8e12))
    assert (roof.peak_ridge, roof.ridge) == pytest.approx((100.0, 92.5))
    assert found.on_chip_bandwidth is None


def test_no_point_lies_above_the_datasheets_roof():
    found = roofline(deployed(), batch=[1, 8, 64, 512, 4096], context=512)
    for op in found.ops:
        roof = np.minimum(op.intensity * found.peak_bandwidth, found.roofs[0].peak_flop_rate)
        assert (op.flop_rate <= roof * (1 + 1e-12)).all()


def test_formats_with_their_own_math_have_their_own_roof():
    hardware = device(dense_flop_rate={"bf16": 100e12, "fp8": 200e12})
    found = roofline(deployed(hardware=hardware, weights="fp8"), batch=64, context=0)
    assert [roof.math for roof in found.roofs] == ["fp8", "bf16"]
