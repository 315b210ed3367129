"""A topic is known to who can name it, and shown to nobody else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivelearn.errors import UsageError
from hivelearn.swarm import topics

BASE, ME, YOU = b"b" * 32, b"m" * 32, b"y" * 32
SALT = topics.salt(b"1" * 32, b"2" * 32)


def test_base_domain_and_secret_each_make_another_topic():
    made = {
        topics.topic(base, domain, secret)
        for base in (BASE, YOU)
        for domain in ("roman", "iso-date", "")
        for secret in ("", "hush", "hush ")
    }
    assert len(made) == 18
    assert topics.topic(BASE, "roman", "hush") == topics.topic(BASE, "roman", b"hush")
    assert topics.lobby(BASE) == topics.topic(BASE, "")


@given(st.text(max_size=8), st.text(max_size=8), st.text(max_size=8), st.text(max_size=8))
def test_parts_never_run_together(domain, secret, other_domain, other_secret):
    same = (domain, secret) == (other_domain, other_secret)
    first, second = (
        topics.topic(BASE, domain, secret),
        topics.topic(BASE, other_domain, other_secret),
    )
    assert (first == second) == same


def test_a_tag_is_recognised_only_with_the_topic_the_speaker_and_the_session():
    topic = topics.topic(BASE, "roman", "hush")
    tag = topics.tag(topic, ME, SALT)
    assert topics.recognise([topic], ME, SALT) == {tag: topic}
    assert tag not in topics.recognise([topic], YOU, SALT), "an echo proves nothing"
    assert tag not in topics.recognise([topic], ME, SALT[::-1]), "nor does a replay"
    assert tag not in topics.recognise([topics.topic(BASE, "roman")], ME, SALT)
    assert topic not in tag


def test_a_secret_of_half_a_character_is_the_callers_to_fix():
    with pytest.raises(UsageError, match="Unicode"):
        topics.topic(BASE, "roman", "\udcff")
