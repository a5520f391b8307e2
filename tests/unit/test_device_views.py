"""Tables of a validation on the device at hand."""

from rooflinesim.report.device_validation import half_throughput_view


def test_below_one_sequence_there_is_no_batch_to_compare() -> None:
    rows = [
        {"group": "100M fp32", "measured": 16.0, "predicted": 15.2},
        {"group": "100M bf16", "measured": 0.31, "predicted": 0.42},
        {"group": "moe fp32", "measured": None, "predicted": 4.0},
    ]
    assert half_throughput_view(rows).rows == [
        ["100M fp32", "16.0", "15.2", "0.95"],
        ["100M bf16", "< 1", "< 1", "-"],
        ["moe fp32", "-", "4.0", "-"],
    ]
