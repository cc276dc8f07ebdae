"""Settings and values of the property-based tests (hypothesis): the same few examples in every run."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

few = settings(
    derandomize=True,
    deadline=None,
    max_examples=25,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
"""For tests that are run in CI: none may fail by chance, or take long."""

numbers = st.floats(-1e6, 1e6, allow_nan=False, width=32)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
