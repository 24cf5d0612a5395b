"""TLS of the gateway, where no proxy in front of it ends it."""

import ssl

from headrace.settings import Settings, SettingsError


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """The server's side, with OpenSSL's own choice of ciphers; None where no certificate is set. Raises SettingsError.
    Read once: a new certificate takes a restart."""
    certificate, key = settings.http_tls_certificate, settings.http_tls_key
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise SettingsError("HEADRACE_HTTP_TLS_CERTIFICATE and HEADRACE_HTTP_TLS_KEY go together: one is not set")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if settings.http_tls_minimum == "1.3" else ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    password = settings.http_tls_key_password
    try:
        # Without a password OpenSSL would ask for one on the terminal.
        context.load_cert_chain(certificate, key, "" if password is None else password.get_secret_value())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        raise SettingsError(
            f"HEADRACE_HTTP_TLS_CERTIFICATE, HEADRACE_HTTP_TLS_KEY: {certificate} and {key} are no certificate chain "
            f"and its key in PEM ({reason}); a key with a password takes HEADRACE_HTTP_TLS_KEY_PASSWORD"
        ) from None
    return context
