"""PostgreSQL's URL, as far as it can be wrong without a server."""

import pytest

from mlwright.backends.postgres import PostgresEngine
from mlwright.kernel.errors import Invalid


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:s3cret@[bad/x",
        "postgresql+psycopg://u:s3cret@[bad/x",
        "postgresql://u:s3cret@127.0.0.1/x?foo=bar",
        "postgresql:u:s3cret@h",
    ],
)
def test_a_url_that_cannot_be_read_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(Invalid) as caught:
        PostgresEngine(url).connect(writable=False)
    assert "s3cret" not in caught.value.message
    assert "PGPASSWORD" in caught.value.hint
    assert caught.value.__cause__ is None, "the driver's text has the URL in it"
