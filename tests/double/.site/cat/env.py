import os

DEFAULTS = {
    "CCAT_API_KEY": None,
    "CCAT_API_KEY_WS": None,
    "CCAT_JWT_SECRET": "secret",
    "CCAT_JWT_ALGORITHM": "HS256",
    "CCAT_JWT_EXPIRE_MINUTES": "1440",
    "CCAT_LOG_LEVEL": "INFO",
    "CCAT_METADATA_FILE": "cat/data/metadata.json",
}


def get_env(name: str) -> str | None:
    return os.getenv(name, DEFAULTS.get(name))
