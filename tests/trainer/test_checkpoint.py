from __future__ import annotations

from lorry.trainer.checkpoint import doomed, prune, steps


def folders(root, *names: str):
    for name in names:
        (root / name).mkdir()
    return root


def test_what_is_no_checkpoint_is_passed_over(tmp_path):
    root = folders(tmp_path, "step-000002", "step-000002.bak", "step-old")
    (root / "step-000003").touch()
    assert steps(root) == [2]
    assert steps(root / "nowhere") == []


def test_pruning_keeps_the_last_ones_the_best_and_what_is_not_its_own(tmp_path):
    root = folders(tmp_path, "step-000001", "step-000002", "step-000003", "step-old")
    prune(root, keep=1, best=1)
    assert sorted(path.name for path in root.iterdir()) == ["step-000001", "step-000003", "step-old"]


def test_the_only_checkpoint_is_never_doomed():
    assert doomed([7], keep=1, best=None) == []
