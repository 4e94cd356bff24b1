import hashlib
import hmac
import os

import jwt


def is_jwt(token: str) -> bool:
    """Whether it has the form of one, be it valid or not."""
    try:
        jwt.decode(token, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        return False
    return True


def hash_password(password: str) -> str:
    salt = os.urandom(8).hex()
    return f"{salt}:{_digest(password, salt)}"


def check_password(password: str, hashed: str) -> bool:
    salt, _, digest = hashed.partition(":")
    return hmac.compare_digest(_digest(password, salt), digest)


def _digest(password: str, salt: str) -> str:
    return hashlib.pbkdf2_hmac("sha256", password.encode(), salt.encode(), 1000).hex()
