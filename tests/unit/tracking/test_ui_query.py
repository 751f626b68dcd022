"""Addresses of the runs table."""

from http.cookies import SimpleCookie

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import Response

from mlwright.kernel.errors import Invalid
from mlwright.tracking.ui import query
from mlwright.tracking.ui.query import TableQuery, from_request, from_saved, to_saved
from mlwright.web.columns import KINDS, MAX_COLUMNS, Column, parse_columns, recall, remember

keys = st.text("abc_/.- 名é", min_size=1, max_size=12)
columns = st.builds(Column, st.sampled_from(KINDS), keys)
states = st.builds(
    TableQuery,
    filter=st.text(max_size=30).map(str.strip),
    order=st.sampled_from(["", "metrics.`a b` DESC", "attributes.start_time ASC"]),
    view=st.sampled_from(list(query.VIEWS)),
    columns=st.none() | st.lists(columns, unique=True, max_size=5).map(tuple),
    size=st.integers(1, query.MAX_SIZE),
    token=st.sampled_from(["", "eyJvZmZzZXQiOiAxMDB9"]),
    nested=st.sampled_from(["", "0", "1"]),
    opened=st.lists(st.text("0123456789abcdef", min_size=32, max_size=32), unique=True, max_size=3).map(tuple),
)


def request(url: str, cookie: str = "") -> Request:
    headers = [(b"cookie", cookie.encode())] if cookie else []
    return Request({"type": "http", "query_string": url.partition("?")[2].encode(), "headers": headers})


@given(states)
def test_an_address_holds_the_whole_state(state: TableQuery) -> None:
    assert from_request(request(state.url(7)), None) == state


@given(states)
def test_a_saved_view_holds_all_but_the_page(state: TableQuery) -> None:
    saved = from_saved(to_saved(state))
    assert (saved.filter, saved.order, saved.view, saved.nested) == (
        state.filter,
        state.order,
        state.view,
        state.nested,
    )
    assert saved.columns == (state.columns or None)
    assert (saved.token, saved.opened) == ("", ())


def test_a_change_starts_at_the_first_page() -> None:
    state = TableQuery(token="abc", opened=("r",), order="metrics.a ASC")
    assert "token" not in state.url(1, order="metrics.b ASC")
    assert "token=abc" in state.url(1, opened=())
    assert "token=xyz" in state.url(1, token="xyz")


def test_nested_until_filtered_or_ordered() -> None:
    assert TableQuery().is_nested
    assert not TableQuery(filter="metrics.a > 1").is_nested
    assert not TableQuery(order="metrics.a ASC").is_nested
    assert TableQuery(filter="metrics.a > 1", nested="1").is_nested
    assert not TableQuery(nested="0").is_nested
    assert not TableQuery(view="deleted", nested="1").is_nested


@pytest.mark.parametrize("text", ["", "metrics", "metrics.", "other.a", "metrics.a`b", ".a"])
def test_not_a_column(text: str) -> None:
    with pytest.raises(Invalid):
        Column.parse(text)


def test_wrong_addresses() -> None:
    for url in ("?view=x", "?size=0", "?size=501", "?size=a", "?column=x"):
        with pytest.raises(Invalid):
            from_request(request(url), None)
    with pytest.raises(Invalid):
        parse_columns(f"metrics.m{n}" for n in range(MAX_COLUMNS + 1))


@given(st.lists(columns, unique=True, max_size=8))
def test_columns_are_remembered(chosen: list[Column]) -> None:
    response = Response()
    remember(response, "c", chosen, "/somewhere")
    value = SimpleCookie(response.headers["set-cookie"])["c"].value
    assert value is not None
    assert recall(request("", f"c={value}"), "c") == tuple(chosen)


def test_what_cannot_be_remembered_or_read_is_left() -> None:
    response = Response()
    remember(response, "c", [Column("metrics", f"{n}" * 100) for n in range(100)], "/")
    assert "set-cookie" not in response.headers
    assert recall(request("", "c=c=nonsense"), "c") is None
    assert recall(request(""), "c") is None


def test_an_old_or_broken_view_opens_as_far_as_it_can() -> None:
    assert from_saved({"view": "x", "columns": "y", "further": 1}) == TableQuery()
