"""Errors that name the place, the value there and the remedy; checks of settings."""

from typing import TypeVar

Refused = TypeVar("Refused", bound="RefusedError")


class RefusedError(ValueError):
    """Something that cannot be used.

    Args:
        message: what is wrong, in words; made of place and value if not given.
        place: the file, field, row, setting or argument.
        value: what is there; text is taken as it is, but a setting's in quotes.
        remedy: what to do about it; the message ends with it.
    """

    _quotes = False

    def __init__(
        self, message: str = "", *, place: str = "", value: object = None, remedy: str = ""
    ) -> None:
        shown = repr(value) if self._quotes and isinstance(value, str) else value
        message = message or f"{place} is {shown}"
        known = not remedy or remedy in message
        super().__init__(message if known else f"{message}; {remedy}")
        self.place, self.value, self.remedy = place, value, remedy

    def within(self: Refused, place: object) -> Refused:
        """The same error, of something in this place, such as a file."""
        own = f"{place}: {self.place}" if self.place else str(place)
        return type(self)(f"{place}: {self}", place=own, value=self.value, remedy=self.remedy)


class DataError(RefusedError):
    """Data that cannot be used, or data and models that do not fit each other."""


class SettingsError(RefusedError):
    """Settings or arguments that cannot be."""

    _quotes = True


def at_least(limit: int, settings: object, *names: str) -> None:
    """Check numbers of a configuration.

    Raises:
        SettingsError: names the first that is below the limit, or not a number.
    """
    for name in names:
        value = getattr(settings, name)
        if not value >= limit:
            raise SettingsError(place=name, value=value, remedy=f"it must be at least {limit}")


def above(limit: int, settings: object, *names: str) -> None:
    """Check numbers of a configuration.

    Raises:
        SettingsError: names the first that is not above the limit.
    """
    for name in names:
        value = getattr(settings, name)
        if not value > limit:
            raise SettingsError(place=name, value=value, remedy=f"it must be above {limit}")


def below_one(name: str, value: float) -> None:
    """Check a share, or a discount.

    Raises:
        SettingsError: if it is not at least 0 and below 1.
    """
    if not 0 <= value < 1:
        raise SettingsError(place=name, value=value, remedy="it must be at least 0 and below 1")


def at_most(limit: int, settings: object, *names: str) -> None:
    """Check numbers of a configuration, which may be None.

    Raises:
        SettingsError: names the first that is above the limit.
    """
    for name in names:
        value = getattr(settings, name)
        if value is not None and not value <= limit:
            raise SettingsError(place=name, value=value, remedy=f"it must be at most {limit}")
