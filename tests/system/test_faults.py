"""Hub, box and spawner are killed at random under load, and nothing is lost, run twice or told wrongly."""

import random

import pytest

from scripts.faults.campaign import IN_FLIGHT_FLOOR, run
from scripts.faults.report import as_text, share_between
from tests.system.plant import Plant

KILLS = 120


@pytest.mark.alone
@pytest.mark.timeout(600)
def test_kills_at_random_lose_nothing_and_start_nothing_twice(
    bare_plant: Plant, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = random.randrange(10**6)
    result = run(bare_plant, seed=seed, kills=KILLS, progress=lambda _: None)
    with capsys.disabled():
        print(f"\n{as_text(result)}")
    assert not result.breaches, f"seed {seed}"
    assert not result.refusals, f"seed {seed}"
    assert len(result.kills) == KILLS
    assert min(kill.in_flight for kill in result.kills) >= IN_FLIGHT_FLOOR
    assert share_between(result.kills) >= 0.3
    assert result.went_on > 0
