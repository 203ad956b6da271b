import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdbatch.labels.aigc import Aigc, BadLabel, packet, produce_id, read_packet

NAMES = [
    "Label", "ContentProducer", "ProduceID", "ReservedCode1",
    "ContentPropagator", "PropagateID", "ReservedCode2",
]  # fmt: skip
# XML has no way to write most control characters, lone surrogates and two others; CR becomes LF.
texts = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"), max_size=40
)
labels = st.builds(Aigc, *[texts] * 7)


def test_the_object_has_the_standards_fields_in_its_order():
    text = Aigc("1", "新华社", "42").json()
    assert list(json.loads(text)) == NAMES
    assert '"ContentProducer":"新华社"' in text


@given(labels)
def test_what_goes_into_a_packet_comes_out(aigc):
    assert read_packet(packet(aigc)) == aigc


def test_another_tools_packet_is_read_as_element_or_attribute():
    text = Aigc("1", "A & B", "42").json()
    quoted = text.replace("&", "&amp;").replace('"', "&quot;")
    head = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><r:RDF xmlns:r="urn:r"><r:Description '
        'xmlns:T="http://www.tc260.org.cn/ns/AIGC/1.0/"'
    )
    tail = "</r:RDF></x:xmpmeta>"
    element = f"{head}><T:AIGC>{quoted}</T:AIGC></r:Description>{tail}"
    attribute = f'{head} T:AIGC="{quoted}"/>{tail}'
    assert read_packet(element.encode()) == read_packet(attribute.encode())
    assert read_packet(element.encode()).ContentProducer == "A & B"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"<a", "XMP: not XML"),
        (b"<a/>", "XMP: no TC260:AIGC in it"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "XMP: document types are not accepted"),
    ],
)
def test_a_packet_without_a_label_is_told_apart(data, why):
    with pytest.raises(BadLabel, match=why):
        read_packet(data)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "AIGC is not JSON"),
        ("[]", "AIGC: expected an object of Label, ContentProducer"),
        ('{"Label":"1"}', "AIGC: expected an object of"),
        (Aigc("1", "a", "b").json().replace('"1"', "1"), "AIGC.Label: expected text, found 1"),
    ],
)
def test_an_object_that_is_not_the_standards_is_refused(text, why):
    with pytest.raises(BadLabel, match=why):
        Aigc.from_json(text)


def test_the_digest_covers_the_producers_fields_and_the_picture_only():
    one = Aigc("1", "新华社", "42")
    assert one.digest([b"ab", b"c"]) == one.digest([b"abc"])
    # SHA-256 of the message of TC260-PG-202511A, then the picture's bytes.
    message = '"Label":"1","ContentProducer":"新华社","ProduceID":"42"'
    assert one.digest([b"abc"]) == hashlib.sha256(message.encode() + b"abc").hexdigest()
    propagated = Aigc("1", "新华社", "42", "x", "人民网", "7", "y")
    assert propagated.digest([b"abc"]) == one.digest([b"abc"])
    assert one.digest([b"abd"]) != one.digest([b"abc"])
    assert Aigc("1", "别人", "42").digest([b"abc"]) != one.digest([b"abc"])


def test_a_pictures_number_is_its_own_and_stays():
    first = produce_id("a" * 64, "1-000")
    assert first == produce_id("a" * 64, "1-000") == "0c7eef3f-5b84-5289-9b78-9ae0323f8e15"
    assert len({first, produce_id("b" * 64, "1-000"), produce_id("a" * 64, "1-001")}) == 3
