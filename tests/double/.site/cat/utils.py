from typing import Any

from pydantic import BaseModel, ConfigDict


class BaseModelDict(BaseModel):
    """A model that takes any further field, and can be read and written like a dict."""

    model_config = ConfigDict(
        extra="allow", validate_assignment=True, arbitrary_types_allowed=True, protected_namespaces=()
    )

    def __getitem__(self, key: str) -> Any:
        return getattr(self, key)

    def __setitem__(self, key: str, value: Any) -> None:
        setattr(self, key, value)

    def __delitem__(self, key: str) -> None:
        delattr(self, key)

    def __contains__(self, key: str) -> bool:
        return key in self.model_dump()

    def get(self, key: str, default: Any = None) -> Any:
        return getattr(self, key, default)

    def keys(self) -> Any:
        return self.model_dump().keys()

    def values(self) -> Any:
        return self.model_dump().values()

    def items(self) -> Any:
        return self.model_dump().items()
