"""The market: offers of several providers, and what speaks against renting any."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import httpx
import pytest

from clouds import CLOUDS, problem
from lorry.compute import market
from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.compute.providers._base import Provider, Volume, Wanted
from lorry.compute.providers._http import HttpProvider
from lorry.errors import InputError, LorryError, RefusedError
from lorry.plan.cost import Interruptions, Terms
from lorry.plan.live import merged, within_budget
from lorry.plan.ranges import Range
from lorry.recipe.schema import ComputeSettings
from scripted import KEYS, SECRET, offer


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in KEYS.values():
        monkeypatch.setenv(variable, SECRET)


def provider(name: str, handle: Any = None, **settings: Any) -> Provider:
    (made,) = market.providers([{"name": name, **settings}])
    if isinstance(made, HttpProvider):
        made.through(httpx.MockTransport(handle or CLOUDS[name]().handle), lambda _: asyncio.sleep(0))
    return made


def down(_: httpx.Request) -> httpx.Response:
    return problem(503, "down for repair")


def survey(*asked: Provider, wanted: Wanted | None = None, usd: float | None = None) -> market.Found:
    return asyncio.run(market.survey(asked, wanted or Wanted(), usd))


def test_offers_of_all_providers_are_one_list_the_cheapest_first():
    found = survey(provider("runpod"), provider("vast"), provider("lambda"))
    prices = [one.offer.usd_per_hour.likely for one in found.listed]
    assert prices == sorted(prices)
    assert {one.provider.name for one in found.listed} == {"runpod", "vast", "lambda"}
    assert all(one.offer.provider == one.provider.name for one in found.listed)


def test_provider_that_is_down_takes_nothing_from_the_others():
    found = survey(provider("runpod", down), provider("lambda"))
    assert {one.provider.name for one in found.listed} == {"lambda"}
    assert found.failures["runpod"].outcome is Outcome.API_DOWN


def test_all_providers_down_is_told_with_what_they_say():
    with pytest.raises(LorryError, match="down for repair"):
        survey(provider("runpod", down))


def test_missing_key_is_refused_though_another_provider_has_offers(monkeypatch):
    monkeypatch.delenv("VAST_API_KEY")
    with pytest.raises(InputError) as caught:
        survey(provider("runpod"), provider("vast"))
    assert "VAST_API_KEY" in caught.value.message
    assert "lorry provider add vast" in caught.value.hint


def test_runpod_asked_for_interruptible_machines_says_the_price_on_demand_and_who_has_them():
    with pytest.raises(RefusedError) as caught:
        survey(provider("runpod"), wanted=Wanted(gpus=market.cards(["RTX 4090"]), interruptible="only"))
    assert "runpod no longer rents interruptible machines" in caught.value.message
    assert "runpod community, RTX 4090, at $0.34 an hour" in caught.value.message
    assert "--on vast" in caught.value.hint
    assert caught.value.exit_code == 3


def test_providers_without_interruptible_machines_are_left_out_where_another_has_them():
    found = survey(provider("lambda"), provider("vast"), wanted=Wanted(interruptible="only"))
    assert {one.provider.name for one in found.listed} == {"vast"}
    assert all(one.offer.interruptible for one in found.listed)


def test_volume_where_nobody_has_volumes_is_refused_with_who_has():
    with pytest.raises(RefusedError) as caught:
        survey(provider("lambda"), wanted=Wanted(volume="v1"))
    assert caught.value.hint == "providers with volumes: runpod"


def with_volume(place: str) -> tuple[Provider, Volume]:
    made = provider("runpod")
    return made, asyncio.run(made.create_volume("models", 20, place))


def test_volume_in_another_data_centre_is_refused_with_the_places():
    made, volume = with_volume("EU-RO-1")
    with pytest.raises(RefusedError) as caught:
        survey(made, wanted=Wanted(gpus=market.cards(["A100-80GB"]), volume=volume.id))
    assert "lies in EU-RO-1" in caught.value.message
    assert "US-KS-2" in caught.value.hint


def test_volume_beside_machines_leaves_those():
    made, volume = with_volume("US-KS-2")
    found = survey(made, wanted=Wanted(volume=volume.id))
    assert {one.offer.place for one in found.listed} == {"US-KS-2"}


def test_volume_is_found_by_name_or_id_and_an_unknown_one_told_with_the_others():
    made, volume = with_volume("US-KS-2")
    for called in ("models", volume.id):
        assert asyncio.run(market.volume_of([made], called))[1] == volume
    with pytest.raises(InputError) as caught:
        asyncio.run(market.volume_of([made], "model"))
    assert "models" in caught.value.hint
    asyncio.run(made.create_volume("models", 20, "EU-RO-1"))
    with pytest.raises(InputError, match="2 volumes"):
        asyncio.run(market.volume_of([made], "models"))


def test_budget_below_the_first_hour_is_refused_with_the_sum():
    with pytest.raises(RefusedError) as caught:
        survey(provider("runpod"), usd=0.2)
    assert "$0.20" in caught.value.message
    assert "$0.34" in caught.value.message
    assert survey(provider("runpod"), usd=0.34).listed
    within_budget([], 0.01)


def test_nothing_free_now_is_an_empty_market_and_no_error():
    assert survey(provider("vast"), wanted=Wanted(gpus=market.cards(["H100"]))).listed == ()


def recipe(**given: Any) -> ComputeSettings:
    return ComputeSettings.model_validate(given)


def test_gpus_are_called_as_people_call_them():
    found = market.wanted(recipe(gpu=["RTX 4090", "A100-80GB"], interruptible="prefer"), memory=5)
    assert [spec.name for spec in found.gpus] == ["RTX 4090", "A100 80GB PCIe", "A100 80GB SXM"]
    assert (found.interruptible, found.memory, found.cpu) == ("prefer", 5, False)
    assert market.wanted(recipe(gpu=["CPU"])).cpu


@pytest.mark.parametrize(("names", "told"), [(["RTX 4091"], "RTX 409"), (["cpu", "RTX 4090"], "alone")])
def test_gpu_that_is_none_is_told_before_anybody_is_asked(names, told):
    with pytest.raises(InputError) as caught:
        market.wanted(recipe(gpu=names))
    assert told in caught.value.hint


def by_bid(price: float, on_demand: float | None) -> Any:
    terms = Terms(interruptions=Interruptions(Range.exact(0.1), Range.exact(60)))
    return offer("vast", usd_per_hour=Range.exact(price), terms=terms, on_demand=on_demand)


def test_bid_is_a_fifth_above_at_most_the_price_on_demand():
    assert market.bid(by_bid(0.10, 0.30)) == 0.12
    assert market.bid(by_bid(0.29, 0.30)) == 0.30
    assert market.bid(by_bid(0.10, None)) == 0.12
    assert market.bid(by_bid(0.40, 0.30)) == 0.40
    assert market.bid(by_bid(0.10, 0.30), 0.2) == 0.2
    assert market.bid(offer("vast")) is None


def test_live_offers_replace_those_of_the_list_and_no_others():
    listed = [offer("runpod", as_of="2026-10-01"), offer("hf")]
    now = [offer("runpod", as_of="2026-12-01"), offer("ssh", gpu=None)]
    live = merged(listed, now, {"runpod"}, ["runpod: 1 offers as of now"])
    assert [(one.provider, one.as_of) for one in live.offers] == [("hf", ""), ("runpod", "2026-12-01")]
    assert live.where["now"] == ["runpod", "ssh"]


def test_refusals_have_the_exit_codes_that_people_know():
    codes = {Outcome.KEY_REFUSED: 2, Outcome.BALANCE_EMPTY: 3, Outcome.NOT_ALLOWED: 3, Outcome.API_DOWN: 1}
    for outcome, code in codes.items():
        assert market.in_words(OutcomeError(outcome, "so")).exit_code == code


def test_every_capability_has_somebody_who_has_it():
    assert market.having("interruptible") == ["vast"]
    assert market.having("volumes") == ["runpod"]
    assert cast("Any", market.having("stop")) == ["runpod", "vast"]
