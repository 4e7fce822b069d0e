"""One column and its public domain: what it holds, in which bounds, and how it is written."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Literal, get_args

from tabsynth.columns import times
from tabsynth.columns.reading import axis_value, code_text, column_values
from tabsynth.columns.times import CYCLES, DAY, Cycle
from tabsynth.errors import SchemaError

Kind = Literal["categorical", "boolean", "integer", "float", "datetime", "duration", "text"]
Role = Literal["target", "sensitive", "identifier", "group", "latitude", "longitude"]
Provider = Literal[
    "name", "first_name", "last_name", "email", "username", "phone", "address", "street", "city", "postcode",
    "company", "iban", "national_id", "ip", "uuid",
]  # fmt: skip
KINDS: tuple[Kind, ...] = get_args(Kind)
ROLES: tuple[Role, ...] = get_args(Role)
NUMERIC: tuple[Kind, ...] = ("integer", "float", "datetime", "duration")
TIME_CODES = (  # which codes of a format count in what, in seconds
    (1.0, ("%S", "%T", "%X", "%c", "%s", "%r")),
    (60.0, ("%M", "%R")),
    (3600.0, ("%H", "%I")),
)
PROVIDERS: tuple[Provider, ...] = get_args(Provider)
PLACES = {"latitude": 90.0, "longitude": 180.0}  # roles, and how far they reach to both sides
PLACE_DECIMALS = 4  # about ten metres
FINEST = 1e-6  # seconds that durations are held to
CLASSES = 10  # integers that count as classes, not as amounts, where they are predicted
TEXT_LENGTH = 200  # characters of free text, unless declared

OTHER = "(other)"  # what discovery calls the categories that were too rare to be paid for


@dataclass(frozen=True, slots=True)
class Column:
    """One column and its public domain; None stands for a fact that is not declared.

    Numeric kinds live on one real axis: integers and floats as themselves, datetimes as seconds since 1970 UTC,
    durations as seconds.
    `bounds` are the smallest and largest value allowed. `codes` are what stands in a numeric column and is no number,
    such as "refused" or 9999. `bins` are increasing edges that start at the lower bound and
    end one `step` above the upper one; a value belongs to the bin whose lower edge it has reached. `distances` are the
    same of how far the value is from that of the smaller column `after`, and take the place of `bins`. Free text has at
    most `max_length` characters.

    >>> Column("age", "integer", bounds=(17, 90)).step
    1.0
    """

    name: str
    kind: Kind
    roles: tuple[Role, ...] = ()
    nullable: bool | None = False
    categories: tuple[str, ...] | None = None
    bounds: tuple[float, float] | None = None
    decimals: int | None = None
    format: str | None = None
    bins: tuple[float, ...] | None = None
    unit: str | None = None
    timezone: str | None = None
    cycle: Cycle | None = None
    rhythm: tuple[float, ...] | None = None
    codes: tuple[str | float, ...] | None = None
    ordered: bool = False
    provider: Provider | None = None
    locale: str | None = None
    unique: bool = False
    max_length: int | None = None
    after: str | None = None
    distances: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Check that the declared facts fit the kind and one another."""
        if self.kind not in KINDS:
            raise self._wrong(f"kind must be one of {', '.join(KINDS)}; got {self.kind!r}")
        for role in self.roles:
            if role not in ROLES:
                raise self._wrong(f"role must be one of {', '.join(ROLES)}; got {role!r}")
        self._settle()
        self._check_provider()
        if self.categories is not None:
            self._check_categories(self.categories)
        if self.bounds is not None:
            self._check_bounds(*self.bounds)
        if self.bins is not None:
            self._check_bins(self.bins)
        if self.decimals is not None and (self.kind not in ("float", "duration") or not 0 <= self.decimals <= 15):
            raise self._wrong("decimals belong to a float column or a duration and lie between 0 and 15")
        if self.bounds is not None and not math.isfinite((self.bounds[1] - self.bounds[0]) / (self.step or 1.0)):
            raise self._wrong("bounds lie further apart than can be counted in floating point")
        if self.format is not None and (self.kind not in ("datetime", "duration") or not isinstance(self.format, str)):
            raise self._wrong("format belongs to a datetime column or a duration, as text")
        self._check_distances()
        self._check_times()
        self._check_text()
        if self.codes is not None:
            self._check_codes(self.codes)
        if self.ordered and self.categories is None:
            raise self._wrong("ordered needs declared categories, the first one lowest")

    @property
    def numeric(self) -> bool:
        """Whether values lie on the real axis."""
        return self.kind in NUMERIC

    @property
    def modelled(self) -> bool:
        """Whether a synthesizer learns this column; identifiers and groups are regenerated."""
        return not {"identifier", "group"} & set(self.roles)

    @property
    def free_text(self) -> bool:
        """Whether a synthesizer learns sentences here, of which no list of values can be made."""
        return self.kind == "text" and self.modelled

    @property
    def levels(self) -> tuple[str, ...] | None:
        """The declared categories; a boolean's are False and True."""
        return ("False", "True") if self.kind == "boolean" else self.categories

    @property
    def classes(self) -> tuple[str, ...] | None:
        """What a prediction of this column chooses among: its levels, or the integers within bounds where they are few.

        None for amounts: other numbers, and more integers than ten.

        >>> Column("fraud", "integer", bounds=(0, 1)).classes
        ('0', '1')
        """
        if self.kind != "integer" or self.codes is not None or self.bounds is None:
            return self.levels
        low, high = map(int, self.bounds)
        return tuple(map(str, range(low, high + 1))) if high - low < CLASSES else None

    @property
    def code_texts(self) -> tuple[str, ...]:
        """The codes as they stand in a text file."""
        return tuple(map(code_text, self.codes or ()))

    @property
    def step(self) -> float:
        """The distance between neighbouring values on the axis; 0 when every real number is allowed."""
        if self.kind == "integer":
            return 1.0
        if self.kind == "datetime":
            return next((step for step, codes in TIME_CODES if any(code in self.time_format for code in codes)), DAY)
        if self.kind == "duration":
            return times.UNITS[self.unit or "s"] * 10.0 ** -(self.decimals or 0)
        return 0.0 if self.decimals is None else 10.0**-self.decimals

    @property
    def digits(self) -> int | None:
        """How many digits after the point a value has on the axis, at most; None where every real number is allowed."""
        if self.kind == "duration":
            return 6
        return self.decimals if self.kind == "float" else 0

    @property
    def time_format(self) -> str:
        """The strftime format of a datetime column, ISO date unless declared."""
        return self.format or "%Y-%m-%d"

    @property
    def read_format(self) -> str:
        """The format by which texts are read: an offset is %z, with a colon (%:z) or without."""
        return self.time_format.replace("%:z", "%z")

    def axis_value(self, value: Any) -> float:
        """Place one value, or a moment written in ISO form, on the real axis; raise SchemaError when it has none."""
        try:
            return axis_value(self.kind, value, self.unit, self.timezone)
        except (TypeError, ValueError, OverflowError):
            raise self._wrong(f"{value!r} is no value of kind {self.kind}") from None

    def undeclared(self) -> tuple[str, ...]:
        """Name the domain facts that are needed for modelling and missing here."""
        if not self.modelled:
            return ()
        missing = [] if self.nullable is not None else ["nullable"]
        if self.numeric and self.bounds is None:
            missing.append("bounds")
        if self.kind == "categorical" and self.categories is None:
            missing.append("categories")
        return tuple(missing)

    def to_dict(self) -> dict[str, Any]:
        """Return the declared facts as plain JSON values, datetimes in ISO form."""
        plain: dict[str, Any] = {"name": self.name, "kind": self.kind}
        if self.roles:
            plain["role"] = self.roles[0] if len(self.roles) == 1 else list(self.roles)
        plain["nullable"] = self.nullable
        for fact in ("categories", "bounds", "bins"):
            if (values := getattr(self, fact)) is not None:
                plain[fact] = [self._written(value) for value in values]
        if self.codes is not None:
            plain["codes"] = list(self.codes)
        for fact in ("ordered", "unique"):
            if getattr(self, fact):
                plain[fact] = True
        for fact in ("rhythm", "distances"):
            if (values := getattr(self, fact)) is not None:
                plain[fact] = list(map(float, values))
        for fact in ("decimals", "format", "unit", "timezone", "cycle", "provider", "locale", "max_length", "after"):
            if (value := getattr(self, fact)) is not None:
                plain[fact] = value
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Column:
        """Read a column from plain values; raise SchemaError naming the column and the rule."""
        name = plain.get("name") if isinstance(plain, Mapping) else None
        if not isinstance(name, str) or not name:
            raise SchemaError("Every column of a schema needs a name, written as text.")
        known = {"role", "nullable"} | {field.name for field in fields(cls)} - {"roles"}
        if unknown := sorted(set(map(str, plain)) - known):
            raise SchemaError(f"Column {name!r}: unknown entry {unknown[0]!r}; known: {', '.join(sorted(known))}.")
        if "kind" not in plain:
            raise SchemaError(f"Column {name!r}: kind is missing; one of {', '.join(KINDS)}.")
        return cls(**column_values(name, plain))

    def _written(self, value: Any) -> Any:
        """Return one domain value as it stands in a file."""
        if self.kind == "datetime" and self.timezone is not None:
            return datetime.fromtimestamp(value, times.zone_of(self.timezone)).isoformat()
        if self.kind == "datetime":
            return datetime.fromtimestamp(value, UTC).replace(tzinfo=None).isoformat().removesuffix("T00:00:00")
        if self.kind == "duration":
            return times.written(value, self.unit)
        if self.kind == "integer":
            return int(value)
        return value

    def _settle(self) -> None:
        """Fill in what places and texts need not declare, and hold durations to what canonical values are held to."""
        if self.kind == "text" and self.max_length is None:
            object.__setattr__(self, "max_length", TEXT_LENGTH)
        for place, reach in PLACES.items():
            if place in self.roles:
                self._settle_place(place, reach)
        for fact in ("bounds", "bins"):
            if self.kind == "duration" and (values := getattr(self, fact)) is not None:
                object.__setattr__(self, fact, tuple(round(value, 6) for value in values))

    def _settle_place(self, place: str, reach: float) -> None:
        """Fill in what a latitude or a longitude need not declare."""
        if self.kind != "float":
            raise self._wrong(f"a {place} must be a float")
        if self.bounds is None:
            object.__setattr__(self, "bounds", (-reach, reach))
        elif self.bounds[0] < -reach or self.bounds[1] > reach:
            raise self._wrong(f"a {place} lies between {-reach:g} and {reach:g}")
        if self.decimals is None:
            object.__setattr__(self, "decimals", PLACE_DECIMALS)

    def _check_provider(self) -> None:
        if (self.provider, self.locale, self.unique) == (None, None, False):
            return
        if "identifier" not in self.roles:
            raise self._wrong("provider, locale and unique belong to a column with the role identifier")
        if self.provider is not None and (self.provider not in PROVIDERS or self.kind != "categorical"):
            raise self._wrong(f"provider belongs to a categorical identifier: one of {', '.join(PROVIDERS)}")
        if self.locale is not None and self.provider is None:
            raise self._wrong("locale needs a provider")

    def _check_categories(self, categories: tuple[str, ...]) -> None:
        if self.kind != "categorical":
            raise self._wrong("categories belong to a categorical column")
        if not categories or len(set(categories)) != len(categories):
            raise self._wrong("categories must be a non-empty list without repeats")

    def _check_bounds(self, low: float, high: float) -> None:
        if not self.numeric:
            raise self._wrong("bounds belong to an integer, float, datetime or duration column")
        if not (math.isfinite(low) and math.isfinite(high) and low <= high):
            raise self._wrong("bounds must be two finite values, the smaller one first")
        if self.kind == "integer" and (low != int(low) or high != int(high)):
            raise self._wrong("the bounds of an integer column must be whole numbers")

    def _check_bins(self, bins: tuple[float, ...]) -> None:
        if self.bounds is None:
            raise self._wrong("bins need bounds")
        if not _are_edges(bins):
            raise self._wrong("bins must be at least two increasing edges, all finite")
        if bins[0] > self.bounds[0] or bins[-1] < self.bounds[1]:
            raise self._wrong("bins must cover the bounds")

    def _check_distances(self) -> None:
        if (self.after is None) != (self.distances is None):
            raise self._wrong("after and distances belong together")
        if self.distances is None:
            return
        if not self.numeric or self.codes is not None or self.bins is not None or self.bounds is None:
            raise self._wrong("distances belong to numbers with bounds, without codes and bins")
        if not _are_edges(self.distances) or self.distances[0] <= -1e-9:
            raise self._wrong("distances must be at least two increasing edges, all finite, none below 0")

    def _check_codes(self, codes: tuple[str | float, ...]) -> None:
        if self.kind not in ("integer", "float"):
            raise self._wrong("codes belong to an integer or float column")
        if not codes or len(set(self.code_texts)) != len(codes) or "" in self.code_texts:
            raise self._wrong("codes must be a non-empty list of texts and numbers without repeats")
        if not all(isinstance(code, str) or math.isfinite(code) for code in codes):
            raise self._wrong("codes must be texts or finite numbers")
        if self.bounds is not None and self.step and set(codes) >= {*_steps(self.bounds, self.step, len(codes) + 1)}:
            raise self._wrong("every number within the bounds is a code")

    def _check_text(self) -> None:
        if self.max_length is not None and (self.kind != "text" or self.max_length < 1):
            raise self._wrong("max_length belongs to a text column and is at least 1 character")
        if self.kind == "text" and {"target", "group"} & set(self.roles):
            raise self._wrong("free text is neither a target nor a group; declare it categorical if its values repeat")

    def _check_times(self) -> None:
        """Check what belongs to datetimes and durations alone."""
        if self.unit is not None and (self.kind != "duration" or self.unit not in times.UNITS):
            raise self._wrong(f"unit belongs to a duration: one of {', '.join(times.UNITS)}")
        if self.kind == "duration":
            if self.format is not None and (self.format not in times.FORMS or self.unit is not None):
                raise self._wrong(f"a duration is a number of its unit or has a format, {' or '.join(times.FORMS)}")
            if self.step < FINEST:
                raise self._wrong("durations are held to a millionth of a second; declare fewer decimals")
        if self.timezone is not None:
            if self.kind != "datetime" or self.step >= DAY:
                raise self._wrong("timezone belongs to a datetime column with a format that has hours")
            try:
                times.zone_of(self.timezone)
            except (TypeError, ValueError):
                raise self._wrong(f"no time zone {self.timezone!r}; name one such as Europe/Berlin") from None
        if self.cycle is not None and (self.kind != "datetime" or self.cycle not in CYCLES):
            raise self._wrong(f"cycle belongs to a datetime column: one of {', '.join(CYCLES)}")
        if self.cycle == "day" and self.step >= DAY:
            raise self._wrong("a cycle of a day needs a format with hours")
        if self.rhythm is not None:
            self._check_rhythm(self.rhythm)

    def _check_rhythm(self, rhythm: tuple[float, ...]) -> None:
        cells = 0 if self.cycle is None else times.cycle_cells(self.cycle, self.step)
        weighed = all(math.isfinite(weight) and weight >= 0 for weight in rhythm) and sum(rhythm) > 0
        if len(rhythm) != cells or not weighed:
            raise self._wrong(f"rhythm is one weight for each hour or day of the cycle, none below 0; {cells} here")

    def _wrong(self, rule: str) -> SchemaError:
        return SchemaError(f"Column {self.name!r}: {rule}.")


def _steps(bounds: tuple[float, float], step: float, most: int) -> list[float]:
    """Return the values from the lower bound to the upper one, `most` at most."""
    count = min(round((bounds[1] - bounds[0]) / step) + 1, most)
    return [bounds[0] + step * place for place in range(count)]


def _are_edges(edges: tuple[float, ...]) -> bool:
    """Whether these are at least two increasing numbers, all finite."""
    return len(edges) > 1 and all(map(math.isfinite, edges)) and all(a < b for a, b in pairwise(edges))
