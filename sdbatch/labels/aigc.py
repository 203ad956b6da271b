"""The AIGC object of GB 45438-2025 (annex E) and the XMP packet that carries it.

References: GB 45438-2025 annex E and F.4; TC260-PG-20259A (picture files); TC260-PG-202511A
(protection of labels), whose message of the producer's three fields is what is hashed here.
"""

from __future__ import annotations

import hashlib
import json
import uuid
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from xml.sax.saxutils import escape

NAMESPACE = "http://www.tc260.org.cn/ns/AIGC/1.0/"
GENERATED = "1"
"""`Label` of what is made by AI; 2 is for what may be, 3 for what is suspected to be."""

_PICTURES = uuid.UUID("0d7f4c1e-6a0b-5c58-9a53-0f1a9d3e4b26")
"""The namespace of picture ids, an arbitrary UUID of this project."""


class BadLabel(ValueError):
    """A label that is missing, or not as the standard has it."""


@dataclass(frozen=True)
class Aigc:
    """The seven fields, in the standard's order; all are text, and empty where nothing is said."""

    Label: str
    ContentProducer: str
    ProduceID: str
    ReservedCode1: str = ""
    ContentPropagator: str = ""
    PropagateID: str = ""
    ReservedCode2: str = ""

    def json(self) -> str:
        """The object as it stands in files."""
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Aigc:
        """What `json` wrote, or another tool.

        Raises:
            BadLabel: not an object of these seven fields, all text.
        """
        try:
            found = json.loads(text)
        except ValueError as error:
            raise BadLabel(f"AIGC is not JSON: {text[:60]!r}") from error
        names = [item.name for item in fields(cls)]
        if not isinstance(found, dict) or sorted(found) != sorted(names):
            raise BadLabel(f"AIGC: expected an object of {', '.join(names)}, found {text[:60]!r}")
        for name, value in found.items():
            if not isinstance(value, str):
                raise BadLabel(f"AIGC.{name}: expected text, found {value!r}")
        return cls(**found)

    def digest(self, picture: Iterable[bytes]) -> str:
        """Hex SHA-256 over the producer's three fields and the encoded picture.

        Whoever changes either without knowing of it is found out. It is no signature.

        Args:
            picture: from `files.picture_data`.
        """
        message = {name: getattr(self, name) for name in ("Label", "ContentProducer", "ProduceID")}
        inner = json.dumps(message, ensure_ascii=False, separators=(",", ":"))[1:-1]
        whole = hashlib.sha256(inner.encode())
        for part in picture:
            whole.update(part)
        return whole.hexdigest()


def produce_id(fingerprint: str, image_id: str) -> str:
    """A picture's number for all time: the same picture of the same dataset has the same one."""
    return str(uuid.uuid5(_PICTURES, f"{fingerprint}/{image_id}"))


_PACKET = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
    ' <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
    '  <rdf:Description rdf:about=""\n'
    f'    xmlns:TC260="{NAMESPACE}"\n'
    '    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">\n'
    "   <TC260:AIGC>{aigc}</TC260:AIGC>\n"
    "   <Iptc4xmpExt:DigitalSourceType>"
    "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    "</Iptc4xmpExt:DigitalSourceType>\n"
    "  </rdf:Description>\n"
    " </rdf:RDF>\n"
    "</x:xmpmeta>\n"
    '<?xpacket end="w"?>'
)


def packet(aigc: Aigc) -> bytes:
    """An XMP packet, UTF-8, with the object, and with what news agencies look for (IPTC)."""
    return _PACKET.format(aigc=escape(aigc.json())).encode()


def read_packet(data: bytes) -> Aigc:
    """The AIGC object of an XMP packet, as an element or as an attribute.

    Raises:
        BadLabel: there is none, or it is not as the standard has it.
    """
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise BadLabel("XMP: document types are not accepted")
    try:
        root = ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        raise BadLabel(f"XMP: not XML ({error})") from error
    name = f"{{{NAMESPACE}}}AIGC"
    element = root.find(f".//{name}")
    found = [element.text] if element is not None else [e.get(name) for e in root.iter()]
    texts = [text for text in found if text]
    if not texts:
        raise BadLabel("XMP: no TC260:AIGC in it")
    return Aigc.from_json(texts[0])
