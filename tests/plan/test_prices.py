"""The dated price list, and the person's own prices over it."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from lorry.errors import InputError
from lorry.plan.gpus import get
from lorry.plan.prices import PriceList, prices
from lorry.plan.ranges import Range

OWN = "[{provider: runpod, tier: mine, as_of: 2026-11-20, machines: [{gpu: RTX 4090, usd: 0.30}]}]"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return tmp_path / "prices.yaml"


def read(file: Path, text: str) -> PriceList:
    file.write_text(text, encoding="utf-8")
    return prices(file.parent)


def test_every_price_has_a_known_gpu_a_source_and_a_date():
    for offer in prices().offers:
        assert offer.gpu is not None, offer.name
        assert offer.source, offer.name
        assert date(2024, 1, 1) <= date.fromisoformat(offer.as_of) <= date(2026, 11, 30), offer.name
        assert offer.usd_per_hour.high < 20 * offer.gpus, offer.name


def test_every_interruptible_price_is_below_that_of_the_same_provider_on_demand():
    listed = prices().offers
    steady = {(one.provider, one.gpu, one.gpus): one.usd_per_hour.likely for one in listed if not one.interruptible}
    for offer in listed:
        key = (offer.provider, offer.gpu, offer.gpus)
        if offer.interruptible and key in steady:
            assert offer.usd_per_hour.likely < steady[key], offer.name


def test_all_compared_providers_are_there():
    assert {"runpod", "vast", "lambda", "hf", "aws", "azure", "colab", "modal"} == set(prices().providers)


def test_every_interruptible_offer_tells_how_often_and_runpod_has_none():
    assert {one.provider for one in prices().offers if one.interruptible} == {"vast", "aws", "azure"}


def test_fee_and_sessions_are_colabs():
    colab = [one for one in prices().offers if one.provider == "colab"]
    assert {one.terms.monthly_fee for one in colab} == {0, 9.99, 49.99}
    assert all(one.terms.session_hours for one in colab)


def test_better_cards_cost_more_where_one_provider_sells_both():
    for dear, cheap in [("H100 SXM", "A100 80GB SXM"), ("H200 SXM", "H100 SXM"), ("B200", "H200 SXM")]:
        for tier in ("secure", "community"):
            price = {one.gpu: one.usd_per_hour.likely for one in prices().offers if one.tier == tier}
            assert price[get(dear)] > price[get(cheap)]


def test_offers_of_a_gpu_come_cheapest_per_card_first():
    found = prices().of(get("A100 80GB SXM"))
    each = [one.usd_per_hour.likely / one.gpus for one in found]
    assert each == sorted(each)
    assert {one.gpus for one in found} == {1, 8}


def test_without_an_own_file_there_is_the_list_alone(tmp_path: Path):
    assert prices(tmp_path) == prices()


def test_own_tier_is_added(own: Path):
    found = read(own, OWN)
    assert found.own == own
    assert len(found.offers) == len(prices().offers) + 1
    (mine,) = [one for one in found.offers if one.tier == "mine"]
    assert (mine.usd_per_hour, mine.as_of) == (Range.exact(0.30), "2026-11-20")


def test_own_group_replaces_the_one_of_its_provider_and_tier(own: Path):
    found = read(own, OWN.replace("mine", "secure"))
    assert [one.machine for one in found.offers if one.tier == "secure"] == ["RTX 4090"]
    assert [one for one in found.offers if one.tier == "community"]


def test_own_provider_without_machines_removes_it(own: Path):
    found = read(own, "[{provider: modal, as_of: 2026-11-20, machines: []}]")
    assert "modal" not in found.providers


def test_price_of_a_range_is_low_likely_high(own: Path):
    found = read(own, OWN.replace("0.30", "[0.1, 0.2, 0.3]"))
    assert found.of(get("RTX 4090"))[0].usd_per_hour == Range(0.1, 0.2, 0.3)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (OWN.replace("0.30", "-0.30"), "0.machines.0.usd: must not be negative"),
        (OWN.replace("0.30", "[3, 2, 1]"), "a range goes low, likely, high"),
        (OWN.replace("0.30", "[1, 2]"), "must be a number, or three"),
        (OWN.replace("0.30", ".nan"), "finite"),
        (OWN.replace("0.30", ".inf"), "finite"),
        (OWN.replace("0.30", "cheap"), "must be a number, or three"),
        (OWN.replace("0.30", "true"), "must be a number, or three"),
        (OWN.replace("RTX 4090", "RTX 4900"), "`RTX 4900` is no GPU that lorry knows"),
        (OWN.replace("RTX 4090", "A100"), "`A100` may be A100 40GB PCIe, A100 40GB SXM"),
        (OWN.replace("RTX 4090", "4090"), "`4090` is no GPU that lorry knows"),
        (OWN.replace("as_of: 2026-11-20, ", ""), "0.as_of: is missing"),
        (OWN.replace("2026-11-20", "yesterday"), "0.as_of"),
        (OWN.replace("tier:", "teir:"), "0.teir: unknown key"),
        (OWN.replace("runpod", "Run Pod"), "0.provider"),
        (OWN.replace("tier: mine", "tier: mine, monthly_fee: -1"), "0.monthly_fee"),
        (OWN.replace("tier: mine", "tier: mine, session_hours: 0"), "0.session_hours"),
        (OWN[:-1] + ", " + OWN[1:], "twice"),
        ("hello", "the file: must be a list"),
        ("", "the file: must be a list"),
        ("[1]", "0: must be a mapping"),
        ("[{a: 1,", "no valid YAML"),
        ("a: !!python/object:os.system {}", "no valid YAML"),
        ("[" * 100_000, "no valid YAML"),
    ],
)
def test_broken_own_file_is_an_error_that_names_file_and_place(own: Path, text: str, told: str):
    with pytest.raises(InputError) as error:
        read(own, text)
    assert told in str(error.value)
    assert str(own) in str(error.value)
    assert error.value.hint


def test_own_file_that_is_no_text_is_an_error(own: Path):
    own.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(InputError, match="cannot be read"):
        prices(own.parent)
    own.unlink()
    own.mkdir()
    with pytest.raises(InputError, match="cannot be read"):
        prices(own.parent)


def test_own_file_with_hundreds_of_mistakes_tells_the_first_ten(own: Path):
    with pytest.raises(InputError, match="and 290 more"):
        read(own, f"[{', '.join('1' for _ in range(300))}]")
