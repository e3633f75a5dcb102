"""TLS: the certificate that a server shows, read from its files."""

import os
import ssl

from earshot_asr.engine.errors import ConfigError


class Certificate:
    """The certificate chain and private key of a server, in PEM files; `context` uses them.

    key    None: it is in the file of the certificate. Raises ConfigError if they can't be used
    """

    def __init__(self, certificate: str, key: str | None) -> None:
        self._certificate, self._key = certificate, key
        self.context = self._read()

    def reload(self) -> None:
        """Reads the files again, for connections from now on. Raises ConfigError, and keeps the old ones."""
        self._read()  # the files may not fit each other while they are being replaced
        self.context.load_cert_chain(self._certificate, self._key, _refuse_password)

    def _read(self) -> ssl.SSLContext:
        for path in filter(None, (self._certificate, self._key)):
            if not os.path.isfile(path):
                raise ConfigError(f"there is no file {path}; --tls-cert and --tls-key name PEM files")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self._certificate, self._key, _refuse_password)
        except _Encrypted:
            raise ConfigError(f"the key in {self._key or self._certificate} has a password; give one without") from None
        except (ssl.SSLError, OSError) as e:
            raise ConfigError(f"can't use the certificate {self._certificate}: {_reason(e)}") from None
        return context


class _Encrypted(Exception):
    """The key needs a password."""


def _refuse_password() -> str:
    raise _Encrypted


def _reason(error: OSError) -> str:
    match error:
        case ssl.SSLError(reason="KEY_VALUES_MISMATCH"):
            return "it does not belong to the key of --tls-key"
        case ssl.SSLError():
            return "it must be in PEM format, with its private key in the same file or in that of --tls-key"
        case _:
            return error.strerror or str(error)
