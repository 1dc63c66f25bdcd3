"""Writes the settings that browser and mobile libraries ask for when they start."""

import re
from typing import Final

from models.primitives.json_types import JsonObject

_HOST: Final = re.compile(r"[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?", re.ASCII)


def library_settings(write_key: str, host: str, scheme: str) -> JsonObject:
    """Return settings that make a library send all calls to this server, without Segment's own measurements."""
    place = {"apiHost": f"{host}/v1", "protocol": scheme} if _HOST.fullmatch(host) else {}
    own = {"apiKey": write_key, "unbundledIntegrations": [], "addBundledMetadata": False, **place}
    return {
        "integrations": {"Segment.io": own},
        "plan": {"track": {"__default": {"enabled": True, "integrations": {}}}, "identify": {}, "group": {}},
        "edgeFunction": {},
        "middlewareSettings": {},
        "enabledMiddleware": {},
        "metrics": {"sampleRate": 0},
        "analyticsNextEnabled": True,
        "legacyVideoPluginsEnabled": False,
        "remotePlugins": [],
    }
