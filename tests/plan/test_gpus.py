"""The catalog of GPUs: its figures against the chips' own arithmetic, and the names that people and drivers use."""

from __future__ import annotations

import re

import pytest

from lorry.errors import InputError
from lorry.plan.gpus import at_hand, catalog, find, get, variants

CHIPS = {
    "T4": (40, 1024, 1590),
    "V100 16GB SXM": (80, 1024, 1530),
    "RTX 2070": (36, 512, 1620),
    "RTX 2080": (46, 512, 1710),
    "RTX 2080 Ti": (68, 512, 1545),
    "Titan RTX": (72, 1024, 1770),
    "Quadro RTX 8000": (72, 1024, 1770),
    "RTX 3060": (28, 512, 1777),
    "RTX 3060 Ti": (38, 512, 1665),
    "RTX 3070": (46, 512, 1725),
    "RTX 3070 Ti": (48, 512, 1770),
    "RTX 3080 10GB": (68, 512, 1710),
    "RTX 3080 12GB": (70, 512, 1710),
    "RTX 3080 Ti": (80, 512, 1665),
    "RTX 3090": (82, 512, 1695),
    "RTX 3090 Ti": (84, 512, 1860),
    "RTX 4060": (24, 512, 2460),
    "RTX 4060 Ti 16GB": (34, 512, 2535),
    "RTX 4070": (46, 512, 2475),
    "RTX 4070 Super": (56, 512, 2475),
    "RTX 4070 Ti": (60, 512, 2610),
    "RTX 4070 Ti Super": (66, 512, 2610),
    "RTX 4080": (76, 512, 2505),
    "RTX 4080 Super": (80, 512, 2550),
    "RTX 4090": (128, 512, 2520),
    "RTX 5060": (30, 512, 2497),
    "RTX 5060 Ti 16GB": (36, 512, 2572),
    "RTX 5070": (48, 512, 2512),
    "RTX 5070 Ti": (70, 512, 2452),
    "RTX 5080": (84, 512, 2617),
    "RTX 5090": (170, 512, 2407),
    "RTX A4000": (48, 1024, 1560),
    "RTX A4500": (56, 1024, 1650),
    "RTX A5000": (64, 1024, 1695),
    "RTX A6000": (84, 1024, 1800),
    "RTX 2000 Ada": (22, 1024, 2130),
    "RTX 4500 Ada": (60, 1024, 2580),
    "RTX 5000 Ada": (100, 1024, 2550),
    "RTX 6000 Ada": (142, 1024, 2505),
    "RTX PRO 6000 Blackwell": (188, 1024, 2617),
    "A10": (72, 1024, 1695),
    "A10G": (80, 512, 1710),
    "A30": (56, 2048, 1440),
    "A40": (84, 1024, 1740),
    "L4": (58, 1024, 2040),
    "L40": (142, 512, 2490),
    "L40S": (142, 1024, 2520),
    "A100 80GB SXM": (108, 2048, 1410),
    "H100 SXM": (132, 4096, 1830),
    "H100 PCIe": (114, 4096, 1620),
    "B200": (148, 8192, 1850),
}
"""Streaming multiprocessors, FLOPs of one in a clock (16-bit tensor, sums in fp32), boost clock in MHz."""


@pytest.mark.parametrize("name", CHIPS)
def test_rate_is_what_the_chip_computes_at_its_boost_clock(name: str):
    multiprocessors, flops, megahertz = CHIPS[name]
    assert get(name).rate == pytest.approx(multiprocessors * flops * megahertz / 1e6, rel=0.015)


def test_names_are_unique_and_each_finds_its_own_card():
    assert len({spec.name for spec in catalog()}) == len(catalog())
    assert all(variants(spec.name) == [spec] for spec in catalog())


def test_every_figure_is_possible_and_has_a_source_with_a_year():
    for spec in catalog():
        assert 0.9 <= spec.memory / (spec.sold_gb * 2**30) <= 1, spec.name
        assert re.search(r"\(20\d\d\)", spec.source), spec.name
        assert 20 < spec.rate < 3000, spec.name
        assert 200 < spec.bandwidth <= 8000, spec.name
        assert 50 <= spec.watts <= 1200, spec.name
        assert 7 <= spec.capability <= 13, spec.name


def test_cards_before_ampere_have_no_bf16():
    old = ("T4", "V100", "RTX 207", "RTX 208", "Titan", "Quadro")
    assert all(spec.bf16 != spec.name.startswith(old) for spec in catalog())


def test_siblings_stand_in_the_ratios_that_their_maker_tells():
    assert get("A10").rate / get("A10G").rate == pytest.approx(1.79, abs=0.02)
    assert get("L40S").rate / get("L40").rate == pytest.approx(2, abs=0.01)
    assert get("H200").rate == get("H100 SXM").rate
    assert get("H200").bandwidth / get("H100 SXM").bandwidth == pytest.approx(1.43, abs=0.01)


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("RTX 4090", "RTX 4090"),
        ("4090", "RTX 4090"),
        ("rtx4090", "RTX 4090"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("4070ti super", "RTX 4070 Ti Super"),
        ("4070TiSuper", "RTX 4070 Ti Super"),
        ("a100 80gb sxm", "A100 80GB SXM"),
        ("A100-SXM4-80GB", "A100 80GB SXM"),
        ("NVIDIA A100 80GB PCIe", "A100 80GB PCIe"),
        ("NVIDIA A100-PCIE-40GB", "A100 40GB PCIe"),
        ("Tesla T4", "T4"),
        ("Tesla V100-SXM2-16GB", "V100 16GB SXM"),
        ("NVIDIA H100 80GB HBM3", "H100 SXM"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA H200", "H200 SXM"),
        ("NVIDIA GH200 480GB", "GH200"),
        ("NVIDIA B300 SXM6 AC", "B300"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada"),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "RTX PRO 6000 Blackwell"),
        ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", "RTX PRO 6000 Blackwell Max-Q"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTX PRO 6000 Blackwell Server"),
        ("Quadro RTX 6000", "Quadro RTX 6000"),
        ("a6000", "RTX A6000"),
    ],
)
def test_name_of_people_clouds_and_drivers_means_one_card(said: str, name: str):
    assert [spec.name for spec in variants(said)] == [name]


@pytest.mark.parametrize(
    ("said", "count", "default"),
    [
        ("A100", 4, "A100 40GB PCIe"),
        ("A100-80GB", 2, "A100 80GB PCIe"),
        ("A100 80", 2, "A100 80GB PCIe"),
        ("H100", 3, "H100 PCIe"),
        ("3080", 2, "RTX 3080 10GB"),
    ],
)
def test_name_of_several_cards_means_the_smallest_where_one_is_asked_for(said: str, count: int, default: str):
    assert len(variants(said)) == count
    assert get(said).name == default


@pytest.mark.parametrize(
    "said",
    [
        "NVIDIA GeForce RTX 4090 Laptop GPU",
        "NVIDIA GeForce RTX 2080 with Max-Q Design",
        "RTX 4090 D",
        "RTX 5090D",
        "NVIDIA A100-SXM4-80GB MIG 1g.10gb",
        "NVIDIA RTX 4000 SFF Ada Generation",
        "A800",
        "GTX 1080",
        "80gb",
        "rtx",
        "",
        "\x00🐘" * 1000,
    ],
)
def test_other_card_gets_no_guess(said: str):
    assert find(said) is None


@pytest.mark.parametrize(
    ("said", "meant"), [("RTX 490", "RTX 4090"), ("B20", "B200"), ("h10o", "H100 "), ("xyz", "`lorry gpus`")]
)
def test_unknown_name_is_an_error_with_the_nearest(said: str, meant: str):
    with pytest.raises(InputError, match="is no GPU") as error:
        get(said)
    assert meant in error.value.hint


@pytest.mark.parametrize(
    ("name", "mib", "card"),
    [
        ("NVIDIA GeForce RTX 3080", 12288, "RTX 3080 12GB"),
        ("NVIDIA GeForce RTX 4060 Ti", 8188, "RTX 4060 Ti 8GB"),
        ("NVIDIA A10G", 23028, "A10G"),
        ("NVIDIA H200", 143771, "H200 SXM"),
        ("Tesla T4", 15360, "T4"),
    ],
)
def test_card_at_hand_is_known_by_name_and_memory(name: str, mib: int, card: str):
    found = at_hand(name, mib * 2**20)
    assert found is not None
    assert found.name == card


def test_card_with_soldered_memory_gets_no_guess():
    assert at_hand("NVIDIA GeForce RTX 4090", 49140 * 2**20) is None
    assert at_hand("NVIDIA GeForce RTX 3060", 8192 * 2**20) is None


def test_code_runs_within_a_major_version_from_the_same_minor_on():
    compiled = frozenset({7.5, 8.0, 9.0})
    assert get("RTX 4090").runs_on(compiled)
    assert get("T4").runs_on(compiled)
    assert not get("V100").runs_on(compiled)
    assert not get("B200").runs_on(compiled)
    assert not get("A100").runs_on(frozenset({8.6}))
