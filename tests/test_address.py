"""A storage's address shows where it is and never the password, however it was written."""

import pickle
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnstudy.address import Address, parse
from bnstudy.errors import BnstudyError

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://db/study", "postgresql://db/study"),
        ("postgres://ann@db:5433/study", "postgresql://ann@db:5433/study"),
        ("postgresql+psycopg://ann:hunter2@db/study", "postgresql://ann:***@db/study"),
        ("postgresql://ann:hunter2@[::1]:5432/study", "postgresql://ann:***@[::1]:5432/study"),
        ("postgresql://db/study?user=ann&password=hunter2", "postgresql://db/study"),
        ("postgresql://ann:hunter2%40%2F@db", "postgresql://ann:***@db"),
        ("postgresql:///study?host=/run/postgresql", "postgresql:///study"),
    ],
)
def test_an_address_shows_all_but_the_password(text: str, shown: str) -> None:
    address = parse(text)
    assert str(address) == f"{address}" == shown and shown in repr(address)
    assert SECRET not in f"{address!r}{address}"
    assert address.secret.startswith("postgresql://") and address.secret.endswith(text.split("://")[1])
    assert pickle.loads(pickle.dumps(address)) == address


@pytest.mark.parametrize("url", ["sqlite:///study.db", "sqlite+pysqlite:///:memory:", "sqlite://"])
def test_sqlite_is_refused_with_the_reason(url: str) -> None:
    with pytest.raises(BnstudyError, match=r"SQLite.*two processes claim.*Leave --storage out.*PostgreSQL"):
        parse(url)


@pytest.mark.parametrize(
    "url", ["mysql+pymysql://ann:hunter2@db/study", "redis://:hunter2@db", "journal://x"]
)
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(BnstudyError, match=r"must be a PostgreSQL database.*PostgreSQL: ") as told:
        parse(url)
    assert SECRET not in str(told.value)


@pytest.mark.parametrize(
    "text",
    [
        "ann:hunter2@db/study",
        "host=db user=ann password=hunter2",
        "hunter2://db",
        "HUNTER2 ://db",
        "postgresql://ann:hunter2/x@db/study",
        "postgresql://ann:a@hunter2@db/study",
        "postgresql://ann:hunter2?x@db/study",
        "postgresql://ann:hunter2#x@db/study",
        "postgresql://ann:hunter2 x@db/study",
        "postgresql://ann:hunter2",
        "postgresql://ann:hunter2/study",
        "postgresql://[hunter2/study",
        "postgresql:/ann:hunter2@db/study",
        "",
    ],
)
def test_a_slip_of_the_pen_shows_nothing_of_the_address(text: str) -> None:
    with pytest.raises(BnstudyError) as told:
        parse(text)
    shown = "".join(traceback.format_exception(told.value)).lower()
    assert "postgresql://USER@HOST/DATABASE" in str(told.value) and SECRET not in shown


@given(st.text(max_size=60), st.text(st.characters(codec="ascii"), min_size=8, max_size=8))
def test_any_text_is_an_address_or_a_sentence(noise: str, secret: str) -> None:
    for text in (noise, f"postgresql://{noise}", f"postgresql://ann:{secret}@{noise}"):
        try:
            address = parse(text)
        except BnstudyError:
            continue
        assert isinstance(address, Address)
        if f"ann:{secret}@" in text and secret not in noise + "postgresql://ann:***@":
            assert secret not in str(address)
