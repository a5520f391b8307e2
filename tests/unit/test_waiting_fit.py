"""What first tokens wait for: constants that made the times are found again, by engine and for all."""

import numpy as np
import pytest

from rooflinesim.validation.waiting_fit import FEWEST_WAITS, Waits, fitted_waiting, fitted_waitings, waited_times

REQUESTS = np.tile([1.0, 4.0, 16.0, 64.0, 128.0], 8)
PROMPT = np.repeat([0.02, 0.05, 0.1, 0.4], 10)


def waits_of(admission_time: float, share: float, stuck: int = 0) -> Waits:
    alone = PROMPT + 0.01
    measured = admission_time + alone + share * (REQUESTS - 1) * PROMPT
    measured[:stuck] *= 30
    return Waits(measured=measured, alone=alone, prompt=PROMPT, others=REQUESTS - 1)


def test_constants_that_made_the_times_are_found_again() -> None:
    # The grid's steps are 8 % in time and 7 % in share.
    found = fitted_waiting(waits_of(0.12, 0.09))
    assert found.admission_time == pytest.approx(0.12, rel=0.08)
    assert found.share == pytest.approx(0.09, rel=0.07)


def test_servers_that_are_still_starting_do_not_move_the_constants() -> None:
    assert fitted_waiting(waits_of(0.12, 0.09, stuck=5)).share == pytest.approx(0.09, rel=0.07)


def test_one_request_waits_for_no_other_and_a_known_engine_by_its_own_constants() -> None:
    slow, quick = waits_of(0.2, 0.5), waits_of(0.05, 0.06)
    both = Waits(
        **{
            name: np.concatenate([getattr(slow, name), getattr(quick, name)])
            for name in ("measured", "alone", "prompt", "others")
        }
    )
    engines = np.repeat(["slow", "quick"], REQUESTS.size)
    found = fitted_waitings(both, engines, np.ones(engines.size, dtype=bool))
    assert found["slow"].share > 5 * found["quick"].share
    times = waited_times(both, engines, found)
    assert times == pytest.approx(both.measured, rel=0.1)
    alone = times[both.others == 0] - both.alone[both.others == 0]
    assert set(np.round(alone, 6)) == {round(one.admission_time, 6) for name, one in found.items() if name != "generic"}


def test_an_engine_with_few_first_tokens_takes_the_constants_of_all() -> None:
    waits = waits_of(0.1, 0.1)
    engines = np.array(["many"] * (REQUESTS.size - FEWEST_WAITS + 1) + ["few"] * (FEWEST_WAITS - 1))
    found = fitted_waitings(waits, engines, np.ones(engines.size, dtype=bool))
    assert set(found) == {"generic", "many"}
    assert np.isfinite(waited_times(waits, engines, found)).all()
