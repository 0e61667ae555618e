"""Plain values and the types that fields allow."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from sbdata.errors import InputError
from sbdata.settings import from_plain


def test_a_number_may_stand_for_a_text_among_the_choices() -> None:
    """YAML reads ``precision: 32`` as a number."""
    assert from_plain(Literal["auto", "32"], 32, "precision") == "32"


@pytest.mark.parametrize("given", [True, 1.0, "1", 2, None, [1]])
def test_what_only_equals_a_choice_is_refused(given: Any) -> None:
    with pytest.raises(InputError, match="side must be one of 0, 1, not"):
        from_plain(Literal[0, 1], given, "side")
