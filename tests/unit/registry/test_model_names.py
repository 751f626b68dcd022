"""Names of models: what a person can see, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlwright.kernel.errors import Invalid
from mlwright.registry.validation import check_model_name


@given(st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zp"]), st.sampled_from(["{}", "a{}", "{}b", "a{}b"]))
def test_what_cannot_be_seen_is_refused_and_named(sign: str, form: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_model_name(form.format(f"x{sign}y"))
    assert f"U+{ord(sign):04X}" in refused.value.message
    assert refused.value.message.isprintable()


@given(st.text(st.characters(categories=["L", "M", "N", "S"]), min_size=1, max_size=20))
def test_names_in_any_script_are_taken(name: str) -> None:
    check_model_name(name)
