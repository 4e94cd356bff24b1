"""The header `Authorization`."""


def bearer_credential(header: str) -> str:
    """The credential in the header, whose scheme may be in any case (RFC 9110, section 11.1); empty if there is none.

    A header without the scheme is the credential itself, as both Cats have it.
    """
    scheme, _, credential = header.strip().partition(" ")
    if scheme.lower() == "bearer":
        return credential.strip()
    return header.strip()
