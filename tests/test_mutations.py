"""The deliberate regressions of mutations.yaml: each still fits, the list of them is current, and some are put in for real."""

import ast
import subprocess
import sys
from dataclasses import replace

import mutate
import pytest

MUTATIONS = mutate.mutations()


@pytest.mark.parametrize("mutation", MUTATIONS.values(), ids=MUTATIONS)
def test_a_mutation_fits_and_can_be_imported(mutation):
    mutated = mutation.applied((mutate.ROOT / mutation.file).read_text(encoding="utf-8"))
    compile(mutated, mutation.file, "exec")
    path, _, test = mutation.caught_by.partition("::")
    text = (mutate.ROOT / path).read_text(encoding="utf-8")
    if path.endswith(".ipynb"):
        assert "nbval-check-output" in text
    else:
        assert test.partition("[")[0] in {node.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)}


def test_the_named_tests_are_there():
    tests = [mutation.caught_by for mutation in MUTATIONS.values() if not mutation.caught_by.endswith(".ipynb")]
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", *tests]
    found = subprocess.run(command, cwd=mutate.ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr


def test_the_list_is_current_and_long_enough():
    assert len(MUTATIONS) >= 50 and f"{mutate.BEGIN}\n{mutate.table()}\n{mutate.END}" in mutate.README.read_text(encoding="utf-8")


def test_a_wrong_sign_is_caught_and_what_is_no_catch_is_not_taken_for_one(tmp_path):
    copy, sign = mutate.copied(tmp_path), MUTATIONS["kl_sign"]
    before = (copy / sign.file).read_text(encoding="utf-8")
    found = mutate.attempt(copy, sign)
    assert found.code == 1 and found.asserted, found.message
    assert (copy / sign.file).read_text(encoding="utf-8") == before
    assert mutate.attempt(copy, replace(sign, new=f"{sign.old}  # the same")).code == 0
    broken = mutate.attempt(copy, replace(sign, new="return no_such_name"))  # fails, but by no assertion
    assert broken.code == 1 and not broken.asserted and "no_such_name" in broken.message
    with pytest.raises(ValueError, match="0 places of askd/divergences"):
        mutate.attempt(copy, replace(sign, old="no such line"))
