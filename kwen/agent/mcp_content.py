"""What an MCP server sent, as what an agent can use: tool definitions checked, results as text and PNG images.

Everything here is a stranger's text: it is cut, checked and named for what it is, never obeyed.
"""

import base64
import binascii
import io
import json
import re
import struct
import warnings
from collections.abc import Iterable
from typing import Any

from kwen.agent.tool import ToolResult, cut

NAME_LENGTH = 64  # OpenAI's limit of a function name; its characters are [A-Za-z0-9_-]
DESCRIPTION_LENGTH = 4000
SCHEMA_LENGTH = 1 << 16  # of the JSON text: a longer one would fill any prompt
RESOURCE_LENGTH = 8000
MAX_IMAGES = 8
IMAGE_PIXELS = 1 << 25
PNG_HEAD = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"


def one_line(text: str, length: int = 300) -> str:
    """A stranger's text for the user's terminal: one line of printable characters, cut."""
    clean = "".join(character if character.isprintable() else " " for character in text[: 4 * length])
    clean = " ".join(clean.split())
    return clean if len(clean) <= length else clean[: length - 1] + "…"


def tool_name(name: str) -> str:
    """The name with every character that the call formats cannot carry replaced; empty if nothing of it is left."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)[:NAME_LENGTH] if name.strip() else ""


def check_schema(schema: dict[str, Any]) -> str:
    """Why this is no JSON schema of a tool's arguments; empty if it is one."""
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import Draft202012Validator, validator_for

    try:
        if len(json.dumps(schema)) > SCHEMA_LENGTH:
            return f"its schema is longer than {SCHEMA_LENGTH >> 10} KB"
        validator_for(schema, default=Draft202012Validator).check_schema(schema)
    except SchemaError as error:
        return f"its schema is none: {one_line(error.message)}"
    except (RecursionError, ValueError, TypeError) as error:
        return f"its schema is none: {one_line(str(error))}"
    if schema.get("type", "object") != "object":
        return f"its arguments are no JSON object but {one_line(str(schema['type']), 40)}"
    return ""


def png(data: str) -> bytes | str:
    """A base64 image as PNG bytes; a string says why there is none. What begins as a PNG file does is left as it is."""
    from PIL import Image

    try:
        raw = base64.b64decode(data, validate=True)
        if raw.startswith(PNG_HEAD) and len(raw) > 33:
            width, height = struct.unpack(">II", raw[16:24])
            return raw if 0 < width * height <= IMAGE_PIXELS else f"an image of {width} x {height} pixels"
        with warnings.catch_warnings(), Image.open(io.BytesIO(raw)) as image:
            warnings.simplefilter("ignore")  # PIL's own about size: the limit here is lower
            if image.width * image.height > IMAGE_PIXELS:
                return f"an image of {image.width} x {image.height} pixels"
            out = io.BytesIO()
            image.convert("RGBA" if "A" in image.getbands() else "RGB").save(out, "PNG")
            return out.getvalue()
    except (binascii.Error, ValueError, OSError, SyntaxError, Image.DecompressionBombError):
        return f"{len(data)} characters that are no image"


def tool_result(content: Iterable[Any], structured: Any = None, error: bool = False) -> ToolResult:
    """The content blocks of a tools/call result: text joined by newlines, images as PNG, resources as text or a note.

    Structured content is shown, as JSON, where there is no text that says the same.
    """
    texts: list[str] = []
    images: list[bytes] = []
    for block in content:
        if block.type == "text":
            texts.append(block.text)
        elif block.type == "image":
            image = png(block.data) if len(images) < MAX_IMAGES else f"an image more than the {MAX_IMAGES} that are read"
            if isinstance(image, bytes):
                images.append(image)
                texts.append(f"[image {len(images)}]")
            else:
                texts.append(f"[not shown: {image}]")
        elif block.type == "audio":
            texts.append(f"[not played: audio, {one_line(block.mime_type, 40)}, {len(block.data) * 3 // 4} bytes]")
        elif block.type == "resource":
            uri = one_line(str(block.resource.uri))
            if hasattr(block.resource, "text"):
                texts.append(f"[resource {uri}]\n{cut(block.resource.text, RESOURCE_LENGTH)}")
            else:
                kind = one_line(block.resource.mime_type or "unknown type", 40)
                texts.append(f"[resource {uri}: {kind}, {len(block.resource.blob) * 3 // 4} bytes, not shown]")
        elif block.type == "resource_link":
            texts.append(f"[link to {one_line(str(block.uri))}: {one_line(block.description or block.name)}]")
    if structured is not None and not any(texts):
        texts.append(json.dumps(structured, ensure_ascii=False))
    text = "\n".join(texts)
    return ToolResult(f"error: {text}" if error else text, images=tuple(images), error=error)
