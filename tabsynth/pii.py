"""Columns that look like personal data or identifiers: by their names, and by their values where those may be read.

A finding names a column and what it looks like, never a value. Names are looked at as words: `customerName`, `e-mail`
and `numéro de téléphone` say what they hold; `product_name`, `email_count` and `paid` do not. Nothing here is a
guarantee: a column of free text may hold anything.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tabsynth.columns import Column, Provider
from tabsynth.schema import Schema

MOST_READ = 10_000  # values of a column that are looked at
FEWEST_UNIQUE = 20  # values without repeats that look like names of rows
ANY_ROW = ("an identifier", "row numbers")
FEWEST_PEOPLE = 20  # values and fewer are a code, whatever their column is called: how someone was contacted
PEOPLE = "people's names"
TIMES = {"year", "yr", "quarter", "month", "week", "day", "hour", "minute", "second", "time", "date", "age"}
COMMON_NAMES = 0.3  # of the different values, which have a common first name where they are people's names
FEW = 1000  # declared categories, or whole numbers within the bounds, that are no names of rows


@dataclass(frozen=True, slots=True)
class Finding:
    """A column and what it looks like, in words; `provider` would make new values of that sort, if one would."""

    column: str
    what: str
    provider: Provider | None = None

    @property
    def personal(self) -> bool:
        """Whether it is something of a person, and not any name of a row."""
        return not self.what.startswith(ANY_ROW)

    @property
    def words(self) -> str:
        """The finding as a sentence."""
        return (
            f"Column {self.column!r} looks like {self.what} and would be modelled as it is. "
            "Give it the role identifier, drop it, or give it the role sensitive if it is meant."
        )


def personal_columns(schema: Schema, private: pd.DataFrame | None = None) -> tuple[Finding, ...]:
    """Return the modelled columns that look personal or like identifiers, unless they are declared sensitive.

    With canonical rows their values are looked at too, the first MOST_READ: under a budget they may not be given.
    """
    asked = [column for column in schema.modelled if "sensitive" not in column.roles]
    found = (
        by_name(c) or by_categories(c) or (None if private is None else by_values(c, private[c.name])) for c in asked
    )
    return tuple(finding for finding in found if finding is not None)


def by_name(column: Column) -> Finding | None:
    """Return what a column's name says that it holds, where values of its kind can be that.

    >>> by_name(Column("kundenEmail", "categorical")).what
    'an e-mail address'
    >>> by_name(Column("email_opened", "boolean")) is None
    True
    """
    if column.kind not in ("categorical", "integer") or _is_code(column):
        return None
    words = _words(column.name)
    if not words or words[0] in COUNTED:
        return None
    for what, provider, phrases in NAMES:
        if any(_ends(words, phrase.split()) for phrase in phrases):
            return Finding(column.name, what, provider if column.kind == "categorical" else None)
    named = words[-1] in ROW_NAMES or words[0] in ROW_NAMES
    return Finding(column.name, "an identifier") if named and not _is_small(column) else None


def by_values(column: Column, series: pd.Series) -> Finding | None:
    """Return what a canonical column's values look like: addresses and numbers of people, or names of rows."""
    if column.kind not in ("categorical", "integer"):
        return None
    present = series.iloc[:MOST_READ].dropna()
    if not len(present):
        return None
    return _in_texts(column, present) if column.kind == "categorical" else _in_numbers(column, present)


def counts_time(name: str) -> bool:
    """Whether a column's name says that its numbers count years or the like, of which a row has one in a time series.

    >>> [counts_time(name) for name in ("year", "birthYear", "yearly_no", "case")]
    [True, True, False, False]
    """
    words = _words(name)
    return bool(words) and words[-1] in TIMES


def by_categories(column: Column) -> Finding | None:
    """Return whose the declared categories of a column look to be; they are public, so that it costs nothing."""
    if column.categories is None or _is_code(column):
        return None
    found = _in_texts(column, pd.Series(column.categories, dtype=object))
    return found if found is not None and found.personal else None


def form_of(text: str) -> int:
    """Return which of FORMS a text has; the number after the last for none.

    >>> FORMS[form_of("ada@example.org")].what, FORMS[form_of("Lovelace, Maria")].what, form_of("Ulm") == len(FORMS)
    ('e-mail addresses', "people's names", True)
    """
    fits = (place for place, form in enumerate(FORMS) if form.fits(text))
    return next(fits, len(FORMS))


def _in_texts(column: Column, present: pd.Series) -> Finding | None:
    texts = present.astype(object).astype(str)
    for form in FORMS:
        among = texts.drop_duplicates() if form.what == PEOPLE else texts
        if among.map(form.fits).mean() > form.share:
            return Finding(column.name, form.what, form.provider)
    unique = len(texts) > FEWEST_UNIQUE and texts.is_unique
    return Finding(column.name, "an identifier (no value comes twice)") if unique else None


def _in_numbers(column: Column, present: pd.Series) -> Finding | None:
    steps = np.diff(np.sort(pd.to_numeric(present, errors="coerce").dropna().to_numpy(np.float64)))
    counted = len(present) > FEWEST_UNIQUE and len(steps) > 0 and (steps == 1).all() and not counts_time(column.name)
    return Finding(column.name, "row numbers") if counted else None


@dataclass(frozen=True, slots=True)
class Form:
    """What texts may look like, and of how many of a column's it has to be said."""

    what: str
    provider: Provider | None
    fits: Callable[[str], bool]
    share: float = 0.5


def _is_name(text: str) -> bool:
    """Whether a text is two to four words, with a common first name at one of its ends.

    >>> [_is_name(text) for text in ("Anna Berg", "de Vries, Maria", "Otto Quast junior", "Q. Zweig", "San Antonio")]
    [True, True, True, False, False]
    """
    words = _words(text)
    ends = {words[0], *words[-2:]} if words else set()
    return 2 <= len(words) <= 4 and words[0] not in SAINTS and not FIRST_NAMES.isdisjoint(ends)


def _words(name: str) -> list[str]:
    """Cut a column's name into words without accents.

    >>> _words("Numéro_deTéléphone2"), _words("straßenName")
    (['numero', 'de', 'telephone'], ['strassen', 'name'])
    """
    name = re.sub(r"\b[Nn][°º]", "numero ", name)
    parted = re.sub(r"(?<=[a-zà-ÿ])(?=[A-ZÀ-Þ])", " ", name).replace("ß", "ss")
    plain = unicodedata.normalize("NFKD", parted).casefold()
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return [re.sub(r"(?<=.{4})nr$", "nummer", word) for word in re.findall(r"[^\W\d_]+", plain)]


def _ends(words: list[str], phrase: list[str]) -> bool:
    """Whether a phrase is what the words come down to: behind it stand none but those that leave it what it is.

    One word of seven letters or more may be the end of a longer one. A mere "name" needs a person beside it.
    """
    if len(phrase) == 1 and phrase[0] in BARE:
        return phrase[0] in words and set(words) <= PERSON
    for place in range(len(words) - len(phrase) + 1):
        part = words[place : place + len(phrase)]
        long = len(phrase) == 1 and (len(phrase[0]) >= 7 or not phrase[0].isascii())
        if (part == phrase or (long and part[0].endswith(phrase[0]))) and set(words[place + len(phrase) :]) <= BEHIND:
            return True
    return False


def _is_code(column: Column) -> bool:
    return column.categories is not None and len(column.categories) <= FEWEST_PEOPLE


def _is_small(column: Column) -> bool:
    """Whether the declared domain is that of a code, not of names of rows."""
    if column.categories is not None:
        return len(column.categories) <= FEW
    return column.bounds is not None and column.bounds[1] - column.bounds[0] < FEW


def _phrases(text: str) -> tuple[str, ...]:
    """Return phrases between commas, as `_words` would have them."""
    return tuple(" ".join(_words(phrase)) for phrase in text.split(","))


A_NAME = "a person's name"
NAMES: tuple[tuple[str, Provider | None, tuple[str, ...]], ...] = (
    (
        "an IP or device address",
        "ip",
        _phrases("""
        ip, ip address, ipaddress, ipv4, ipv6, mac address, imei, device id
        """),
    ),
    (
        "an e-mail address",
        "email",
        _phrases("""
        email, e mail, emails, emailaddr, mail, mailadresse, correo, correo electronico, courriel, メール,
        メールアドレス, 邮箱, 電子郵件, почта, 이메일, epost, posta elettronica
        """),
    ),
    (
        "a telephone number",
        "phone",
        _phrases("""
        phone, phones, phonenumber, telephone, tel, telefon, telefonnummer, mobile, mobil, mobiltelefon, rufnummer,
        whatsapp, handy, handynummer, cell, cellphone, fax, telefono, telefone, celular, movil, portable, telefoon,
        电话, 手机, 電話, 電話番号, телефон, 전화번호
        """),
    ),
    (
        "a bank account or card number",
        "iban",
        _phrases("""
        iban, iban code, cc number, bic, account number, accountnumber, bank account, credit card, creditcard,
        card number, cardnumber, ccnumber, kontonummer, konto, kreditkarte, kreditkartennummer, tarjeta,
        numero de cuenta, numero de         compte, carte bancaire
        """),
    ),
    (
        "a national number",
        "national_id",
        _phrases("""
        ssn, social security, social security number, national id, nationalid, national insurance, nin, nino,
        passport, passport         number, tax id, taxid, driver license, drivers licence, driving licence,
        sozialversicherungsnummer, svnr, steuernummer, steueridentifikationsnummer, nhs, steuer id, reisepass,
        reisepassnummer, ausweis, personalausweis, ausweisnummer, dni, nie, nif, curp, cpf, cnpj, codice fiscale,
        codicefiscale, bsn, pesel, personnummer, aadhaar, pan number, numero de securite         sociale,
        passeport, pasaporte, 身份证, 身份证号, マイナンバー, паспорт, снилс, инн, license plate, licence plate,
        kennzeichen, matricula, vin
        """),
    ),
    (
        "a user name",
        "username",
        _phrases("""
        username, user name, login, nickname, screen name, benutzername, usuario, логин
        """),
    ),
    (
        "a patient's or customer's number",
        None,
        _phrases("""
        mrn, medical record number, medical record, patient number, customer number, client number, member number,
        employee number, kundennummer, patientennummer, mitgliedsnummer, personalnummer, matrikelnummer,
        versichertennummer, numero de cliente, numero client, numero de patient, numero cliente
        """),
    ),
    (
        "a postal address",
        "address",
        _phrases("""
        address, addresses, addr, street, street address, strasse, adresse, anschrift, hausnummer, direccion,
        calle, domicilio, rue, indirizzo, endereco, adres, ulica, 住所, 地址, адрес, улица, 주소
        """),
    ),
    (
        A_NAME,
        "name",
        _phrases("""
        name, names, nome, naam, contact, fname, lname, klantnaam, fullname, firstname, lastname, forename,
        surname, full name, first name, last name, maiden         name, vorname, nachname, familienname,
        geburtsname, kundenname, patientenname, nom, prenom, nombre, apellido, apellidos, cognome, sobrenome,
        voornaam, achternaam, namn, fornamn, efternamn, imie, nazwisko, 姓名, 氏名, 名前, имя, фамилия, 이름
        """),
    ),
)
PERSON = {  # words beside "name" that make it a person's
    "name", "names", "nom", "nombre", "full", "first", "last", "given", "family", "middle", "maiden", "birth",
    "legal", "patient", "patients", "customer", "client", "person", "people", "user", "employee", "member",
    "student", "holder", "contact", "owner", "doctor", "physician", "teacher", "guest", "passenger", "applicant",
    "driver", "author", "mother", "father", "spouse", "child", "emergency", "billing", "shipping", "de", "du",
    "del", "la", "complet", "completo", "cliente", "famille", "klant", "naam", "nome", "beneficiary", "respondent",
    "the", "of",
}  # fmt: skip
BARE = {"name", "names", "nom", "nombre", "nome", "naam", "contact"}
BEHIND = PERSON | {  # words that may follow
    "number", "numbers", "no", "nr", "num", "nummer", "numero", "address", "addr", "id", "home", "work", "private",
    "primary", "secondary", "main", "business", "mobile", "line", "a", "b", "en", "y", "e",
}  # fmt: skip
COUNTED = {"num", "n", "number", "count", "anzahl", "has", "is", "nb", "total"}  # words in front: how many, whether
ROW_NAMES = {"id", "ids", "uuid", "guid", "identifier", "identifiant", "identificador", "kennung", "schlussel", "ид"}
SHAPES: tuple[tuple[str, Provider | None, str], ...] = (
    ("e-mail addresses", "email", r"[^@\s]+@[^@\s]+\.[^@\s]+"),
    ("UUIDs", "uuid", r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"),
    ("IBANs", "iban", r"[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?"),
    ("IP addresses", "ip", r"\d{1,3}(?:\.\d{1,3}){3}"),
    ("telephone numbers", "phone", r"(?=(?:\D*\d){7,15}\D*$)\+?[\d (][\d ()/-]*[ ()/+-][\d ()/-]*"),
)
SAINTS = {"san", "santa", "santo", "saint", "sainte", "st", "sankt", "sao"}  # of whom places are called
# the commonest of some twenty countries, as `_words` has them
FIRST_NAMES = frozenset(
    _words("""
    aaron abigail adam agnieszka ahmed aisha alain alan albert alberto alejandro alexander alexis ali alice amanda
    amber amy ana anders andrea andreas andrew andrzej andré angela anja ann anna anthony antoine antonio arthur
    ashley ayşe barbara benjamin bernard bernd betty beverly billy birgit bobby bradley brandon brenda brian
    brigitte brittany bruce bryan caleb camille carl carlos carmen carol carolyn catherine chantal charles charlotte
    cheryl chiara chloé christian christina christine christopher claudia cristina cynthia céline daniel danielle
    david deborah debra denise dennis diana diane diego dieter dmitri dolores donald donna doris dorothy douglas
    dylan edward elena elijah elizabeth emily emma eric erik ethan eva evelyn fatima fatma felix fernando florian
    frances francesca francisca francisco franco frank françois gabriel gary george gerald giovanni giulia giuseppe
    gloria grace gregory günter hannah hans harold heather heike heinz helen helga henry horst ingrid isabel
    isabella isabelle ivan jack jacob jacqueline jacques james jan janet janice jason javier jean jeffrey jennifer
    jens jeremy jerry jesse jessica jesús joan joe johan john jonathan jordan jorge jose josefa joseph joshua josé
    joyce joão juan judith judy julia julie julien justin jürgen karen karin karl katarzyna katherine kathleen
    kathryn katrin kayla keith kelly kenneth kevin kimberly klaus krzysztof kyle larry lars laura lauren laurent
    lawrence lena leon li liam linda lisa logan lorenzo lori lucas lucía luigi luis luise luiz lukas madison manfred
    manon manuel marco margaret maria marie marilyn mario mark markus marta martha martin mary mason matteo matthew
    matthias małgorzata megan mehmet melissa mercedes mia michael michel michelle miguel mohamed mohammed monika
    monique muhammad mustafa nancy natalie nathalie nathan nicholas nicolas nicole noah olivia olivier otto pablo
    pamela paolo pascal patricia patrick paul paula pedro peter petra philippe pierre piet pilar piotr rachel rainer
    randy raquel raymond rebecca renate richard robert roberto roger ronald rosa roy russell ruth ryan sabine
    salvatore samantha samuel sandra sara sarah scott sean sebastian sergei sergio sharon shirley silke sophia
    sophie stefan stephanie stephen steven susan susanne sylvie teresa terry theresa thomas timothy tobias tomasz
    tyler ursula uwe victoria vincent vincenzo virginia walter wayne wei werner willem william willie wolfgang
    zachary ángel александр алексей андрей анна дмитрий елена мария наталья ольга сергей татьяна
    """)
)


def _shaped(shape: str) -> Callable[[str], bool]:
    """Return what says whether a text has a shape."""
    pattern = re.compile(shape)
    return lambda text: pattern.fullmatch(text) is not None


FORMS = (
    *(Form(what, provider, _shaped(shape)) for what, provider, shape in SHAPES),
    Form(PEOPLE, "name", _is_name, COMMON_NAMES),
)
