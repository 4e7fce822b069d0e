"""The detector of personal columns: how often it is wrong on a few hundred names, and what it says."""

import numpy as np
import pandas as pd
import pytest

from tabsynth.drafting import draft
from tabsynth.pii import by_name, by_values, personal_columns
from tabsynth.schema import Column, Schema
from tabsynth.table import read

PERSONAL = """
    customer_name | Customer Name | patientName | full_name | surname | LAST NAME | guest_name | Nachname |
    Vorname | Kundenname | prénom | apellidos | nome_cognome | voornaam | имя | 氏名 | email | E-Mail |
    contact_email | emailAddress | KundenEmail | correo_electrónico | courriel | メールアドレス | phone |
    Phone Number | telefon | Telefonnummer | mobile_no | numéro de téléphone | celular | 電話番号 | cell |
    home_address | Street | Straße | Anschrift | dirección | indirizzo | адрес | ip | client_ip | ip_address |
    SSN | social_security_number | passport | Reisepassnummer | tax_id | DNI | codice_fiscale | IBAN |
    credit card | Kontonummer | account_number | username | login | id | patient_id | userId | UUID |
    customer number | mrn | Matrikelnummer | employee_number | license_plate | cust_email | mail_address |
    first name of patient | Telefonnr | TelNo | phone_no | Geburtsname | id_number | person_id | subject_id |
    record_id | client address | home phone | fax_number | passport_no | sozialversicherungsnr | name_first |
    lname | fname | emailaddr | contact | e_mail_1 | Kunden-ID | Klantnaam | nome | nome completo |
    numero_telefono | CPF | national_insurance_number | voter_id | PatientFirstName | PATIENT_LAST_NAME |
    respondent_email | beneficiary_name | Emailadresse | E_MAIL_ADDRESS | MobilePhone | whatsapp_number |
    Rufnummer | Wohnadresse | street_address_1 | mailing_address | Postanschrift | steuerIdentifikationsnummer |
    driver_license_no | NHS number | Krankenversichertennummer | iban_code | cc_number | user_login |
    screenName | device_id | imei | GUID | order_id | transaction_id | nom_complet | adresse_mail |
    N° de téléphone | teléfono_móvil
"""
ORDINARY = """
    product_name | file_name | country_name | drug name | brand | age | income | zip | city | region |
    education | occupation | marital-status | paid | grid | capital_gain | hours_per_week | email_count |
    n_emails | has_phone | phone_type | phone_brand | email_domain | address_type | email_status | ip_country |
    month | day_of_week | width | video | androide | valid | idle | ideology | emails_opened | temperature |
    telemetry | cellulite | mailing_rate | streetwear_brand | addressable_rate | nominal | nominee_count |
    login_count | company | store | category | title | diagnosis | department | stadium | tenure | score |
    is_member | state | humid | side | kidney_stage | solid | liquid | acid | plan | streaming_service |
    cellular_plan | account_type | card_type | bank | name_of_product | species_name | team_name |
    station_name | hotel_name | event_name | job_name | host_name | idx | identity_score | email_campaign |
    mail_volume | phone_minutes | mobile_app_version | street_type | address_count | ip_port | user_type |
    customer_segment | card_present | account_balance | bank_name | passport_country | telescope |
    handy_rating | rue_count | calle_tipo | login_hour | plate_temperature | vintage | mailbox_count |
    emailing_frequency | name_length | country | course_name | plan_name | phone_plan | contract_type |
    housing | street_lighting | address_verified | gender | race | native-country | loan_amount | visit_type |
    tel_aviv_branch | mobile_payments | carrier | idiom | hybrid | userRating | clientele | patients_per_day |
    login_method | username_length | ipo_year | nominal_rate | surname_frequency | emailed
"""


def names(text):
    return [name.strip() for name in text.split("|") if name.strip()]


def test_error_rates_on_names():
    missed = [name for name in names(PERSONAL) if by_name(Column(name, "categorical")) is None]
    alarms = [name for name in names(ORDINARY) if by_name(Column(name, "categorical")) is not None]
    assert len(missed) <= 0.05 * len(names(PERSONAL)), missed
    assert len(alarms) <= 0.05 * len(names(ORDINARY)), alarms


@pytest.mark.parametrize(
    ("name", "what", "provider"),
    [
        ("kunden_mail", "an e-mail address", "email"),
        ("ipAddress", "an IP or device address", "ip"),
        ("Billing Address", "a postal address", "address"),
        ("mother name", "a person's name", "name"),
        ("order_id", "an identifier", None),
    ],
)
def test_what_a_name_says(name, what, provider):
    found = by_name(Column(name, "categorical"))
    assert (found.what, found.provider) == (what, provider)
    assert repr(name) in found.words


@pytest.mark.parametrize("kind", ["boolean", "float", "datetime", "duration"])
def test_values_of_these_kinds_are_nobodys_address(kind):
    assert by_name(Column("email", kind)) is None
    assert by_name(Column("id", kind)) is None


def test_a_code_with_a_small_domain_is_no_name_of_rows():
    assert by_name(Column("store_id", "integer", bounds=(1, 40))) is None
    assert by_name(Column("store_id", "categorical", categories=("a", "b"))) is None
    assert by_name(Column("customer_id", "integer", bounds=(1, 100_000))).what == "an identifier"
    assert by_name(Column("phone", "integer", bounds=(0, 10))).provider is None


VALUES = {
    "e-mails": (["a@b.de", "x.y@mail.example.org", "none", "q@w.fr"], "e-mail addresses"),
    "IBANs": (["DE89 3704 0044 0532 0130 00", "GB29NWBK60161331926819"] * 2, "IBANs"),
    "addresses": (["10.0.0.1", "192.168.1.20"] * 2, "IP addresses"),
    "phones": (["+49 30 1234567", "(030) 123-4567", "555-123-4567"] * 2, "telephone numbers"),
    "keys": (["3f2504e0-4f89-41d3-9a0c-0305e82c3301"] * 3, "UUIDs"),
    "texts that never repeat": ([f"v{i}" for i in range(30)], "an identifier (no value comes twice)"),
    "numbers one after another": (list(range(100, 140)), "row numbers"),
    "cities": (["Ulm", "Bonn"] * 20, None),
    "dates as text": (["2024-01-01 b", "2024-02-01 b"] * 20, None),
    "versions": (["1.2.3", "2.0.1"] * 20, None),
    "prices": ([9.5, 1.5, 2.0], None),
    "ages": (list(np.random.default_rng(0).integers(0, 99, 60)), None),
    "too few to tell": (["a", "b", "c"], None),
    "none at all": ([None, None], None),
}


@pytest.mark.parametrize(("values", "what"), VALUES.values(), ids=VALUES)
def test_what_values_look_like(values, what):
    kind = "categorical" if any(isinstance(value, str) for value in values) or None in values else "integer"
    kind = "float" if any(isinstance(value, float) for value in values) else kind
    column = Column("a", kind, nullable=True)
    found = by_values(column, read(pd.DataFrame({"a": values}), Schema((column,))).private["a"])
    assert (None if found is None else found.what) == what


def test_identifiers_and_what_is_declared_sensitive_are_not_found():
    columns = (
        Column("email", "categorical", roles=("identifier",)),
        Column("patient", "categorical", roles=("group",)),
        Column("phone", "categorical", roles=("sensitive",)),
        Column("surname", "categorical"),
        Column("age", "integer"),
    )
    assert [found.column for found in personal_columns(Schema(columns))] == ["surname"]


def test_a_few_categories_are_a_code_whatever_their_column_is_called():
    ways = ("cellular", "telephone", "unknown")
    assert by_name(Column("contact_phone", "categorical", categories=ways)) is None
    assert by_name(Column("contact_phone", "categorical")) is not None
    frame = pd.DataFrame({"phone": list(ways) * 20, "email": [f"person{i % 40}@post.example" for i in range(60)]})
    schema = draft(frame).schema
    assert schema["phone"].roles == ()
    assert schema["phone"].categories == ways
    assert schema["email"].roles == ("identifier",)


PEOPLE = ["Anna Schulz", "Ludwig Tran", "Smith, James", "María de la Cruz", "Kimberly Osei", "Bo Xu", "Dr. Peter Voss"]
NO_PEOPLE = {
    "towns": ["New York", "San Diego", "Santa Maria", "Frankfurt am Main", "Saint Paul", "Le Havre", "Las Palmas"],
    "products": [
        "Sofa Karin",
        "blue lamp",
        "dining table",
        "Chair Otto",
        "oak shelf",
        "bunk bed",
        "desk top",
        "wall unit",
    ],
    "one word": ["Anna", "Peter", "Maria", "Otto", "James"],
    "sentences": ["Anna came in with a cough and left again", "Peter has been well since the last visit of May"],
    "codes": ["A 01", "A 02", "B 11"],
}


def test_names_of_people_are_seen_in_values():
    assert by_values(Column("customer", "categorical"), pd.Series(PEOPLE * 3)).what == "people's names"
    assert by_values(Column("customer", "categorical"), pd.Series(PEOPLE * 3)).provider == "name"


@pytest.mark.parametrize("values", NO_PEOPLE.values(), ids=NO_PEOPLE)
def test_other_words_are_nobodys_names(values):
    assert by_values(Column("a", "categorical"), pd.Series(values * 3)) is None
