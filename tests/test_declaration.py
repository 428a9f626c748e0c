"""What an ablation's file says beside its data is read from its text, and nothing else is."""

from bnstudy import declaration
from bnstudy.books import registry

FILE = '''"""Does it matter?

Expected: little
(Nobody 2020).

And nothing else.
"""

ablation = Ablation(
    seeds=range(5),  # five see a point
    claims=(
        # A point: what a reader
        # would notice.
        Claim("First.", effect=at_least(0.01)),
        Claim("Second.", effect=at_least(0.01)),
        # 2 points, here and below: more.
        Claim("Third.", effect=at_least(0.02)),
        Claim("Fourth.", effect=at_least(0.02)),
    ),
)
'''


def test_the_expectation_is_the_docstring_below_its_first_line() -> None:
    assert declaration.expected(FILE) == "Expected: little (Nobody 2020).\n\nAnd nothing else."


def test_a_margin_has_the_reason_above_it_or_the_last_one_that_holds_below() -> None:
    assert declaration.margins(FILE) == {
        "First.": "A point: what a reader would notice.",
        "Second.": "",
        "Third.": "2 points: more.",
        "Fourth.": "2 points: more.",
    }


def test_the_seeds_have_the_reason_beside_them() -> None:
    assert declaration.seeds(FILE) == "five see a point"


def test_an_ablation_without_a_file_says_nothing() -> None:
    assert (declaration.expected(""), declaration.margins(""), declaration.seeds("")) == ("", {}, "")


def test_every_ablation_says_what_to_expect_why_its_seeds_and_why_its_primary_margin() -> None:
    for name, ablation in registry.find().ablations.items():
        assert declaration.expected(ablation.file).startswith("Expected: "), name
        assert declaration.seeds(ablation.file), name
        assert declaration.margins(ablation.file)[ablation.claims[0].text], name
