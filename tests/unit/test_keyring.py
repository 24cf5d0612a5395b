"""What seals stored secrets: only the right key opens, only in the right place, and nothing shows a key."""

from base64 import b64encode
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.keyring import Keyring, NoKeys, Place, Sealed, Unreadable, load_keyring
from headrace.settings import SettingsError, load_settings

pytestmark = pytest.mark.unit

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
PLACE = Place("shop", "secret", "KEY")

texts = st.text(st.characters(exclude_categories=["Cs"]))


def in_base64(*keys: bytes) -> str:
    return ",".join(b64encode(key).decode() for key in keys)


@given(texts)
def test_what_is_sealed_opens_with_its_key_and_never_looks_the_same_twice(text: str) -> None:
    ring = Keyring([OLD])
    sealed = ring.seal(PLACE, text)
    assert ring.open(PLACE, sealed) == text
    assert ring.seal(PLACE, text) != sealed


@pytest.mark.parametrize(
    "other",
    [Place("bank", "secret", "KEY"), Place("shop", "environment", "KEY"), Place("shop", "secret", "OTHER")],
)
def test_a_value_that_was_moved_opens_nowhere(other: Place) -> None:
    ring = Keyring([OLD])
    with pytest.raises(Unreadable, match="belongs to another name"):
        ring.open(other, ring.seal(PLACE, "hunter2-secret"))


@given(st.data())
def test_a_value_of_which_a_bit_was_changed_does_not_open(data: st.DataObject) -> None:
    ring = Keyring([OLD])
    sealed = ring.seal(PLACE, "hunter2-secret")
    bit = data.draw(st.integers(0, 8 * len(sealed.data) - 1))
    changed = bytearray(sealed.data)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(Unreadable):
        ring.open(PLACE, Sealed(sealed.key, bytes(changed)))


@given(st.binary(max_size=40))
def test_bytes_that_nobody_sealed_are_unreadable_and_no_crash(data: bytes) -> None:
    ring = Keyring([OLD])
    with pytest.raises(Unreadable):
        ring.open(PLACE, Sealed(ring.newest, data))


def test_the_first_key_seals_and_all_open() -> None:
    before, between, after = Keyring([OLD]), Keyring([NEW, OLD]), Keyring([NEW])
    old = before.seal(PLACE, "one")
    assert between.open(PLACE, old) == "one"
    assert after.open(PLACE, between.seal(PLACE, "two")) == "two"
    with pytest.raises(Unreadable, match="HEADRACE_SECRETS_KEYS"):
        after.open(PLACE, old)


def test_without_a_key_nothing_is_sealed_and_the_sentence_names_the_setting() -> None:
    ring = load_keyring(load_settings())
    with pytest.raises(NoKeys, match="HEADRACE_SECRETS_KEYS"):
        ring.seal(PLACE, "x")


def test_keys_are_read_of_the_setting_or_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(in_base64(NEW) + "\n" + in_base64(OLD) + "\n")
    sealed = Keyring([OLD]).seal(PLACE, "one")
    for settings in (load_settings(secrets_keys=in_base64(NEW, OLD)), load_settings(secrets_keys_file=file)):
        ring = load_keyring(settings)
        assert (ring.newest, ring.open(PLACE, sealed)) == (Keyring([NEW]).newest, "one")
    with pytest.raises(SettingsError, match="both set"):
        load_keyring(load_settings(secrets_keys=in_base64(NEW), secrets_keys_file=file))


@pytest.mark.parametrize("text", ["", "hunter2-secret", in_base64(OLD[:16]), in_base64(OLD) + ",hunter2", "é"])
def test_a_key_that_is_none_is_told_by_its_place_and_not_quoted(tmp_path: Path, text: str) -> None:
    file = tmp_path / "keys"
    file.write_text(text)
    for settings in (load_settings(secrets_keys=text), load_settings(secrets_keys_file=file)):
        with pytest.raises(SettingsError, match=r"^HEADRACE_SECRETS_KEYS.*32 bytes in Base64") as refused:
            load_keyring(settings)
        assert "hunter2" not in str(refused.value)
    assert in_base64(OLD) not in repr(load_keyring(load_settings(secrets_keys=in_base64(OLD)))) + repr(
        load_settings(secrets_keys=in_base64(OLD))
    )


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"HEADRACE_SECRETS_KEYS_FILE: .*cannot be read"):
        load_keyring(load_settings(secrets_keys_file=tmp_path / "none"))
