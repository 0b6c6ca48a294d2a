"""TLS with a real server of either kind: verified connections are made, and one that cannot be verified is refused."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from engram_core.errors import ConfigError, EngramError
from engram_core.store.connection import Options
from engram_core.store.store import Store, open_database
from tests.servers import SERVERS, PrivateServer, need_private

SECURE = {"postgresql": "sslmode=verify-full&sslrootcert=", "mariadb": "ssl_mode=verify_identity&ssl_ca="}
CA_ONLY = {"postgresql": "sslmode=verify-ca&sslrootcert=", "mariadb": "ssl_mode=verify_ca&ssl_ca="}
PLAIN = {"postgresql": "sslmode=disable", "mariadb": "ssl_mode=disabled"}
IN_USE = {"postgresql": "SELECT version FROM pg_stat_ssl WHERE pid=pg_backend_pid() AND ssl",
          "mariadb": "SELECT variable_value FROM information_schema.session_status WHERE variable_name='SSL_VERSION'"}


def openssl(folder: Path, *args: str) -> None:
    subprocess.run(["openssl", *args], cwd=folder, check=True, capture_output=True)


def authority(folder: Path, name: str) -> None:
    """Make a certificate authority."""
    openssl(folder, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}", "-keyout",
            f"{name}.key", "-out", f"{name}.pem", "-addext", "basicConstraints=critical,CA:TRUE", "-addext",
            "keyUsage=critical,keyCertSign,cRLSign")


def certificate(folder: Path, by: str, host: str) -> None:
    """Make a server's key and certificate, signed by an authority."""
    (folder / "san").write_text(f"subjectAltName={host}\nextendedKeyUsage=serverAuth\n")
    openssl(folder, "req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=server", "-keyout", "server.key", "-out",
            "server.csr")
    openssl(folder, "x509", "-req", "-in", "server.csr", "-CA", f"{by}.pem", "-CAkey", f"{by}.key", "-CAcreateserial",
            "-days", "2", "-out", "server.pem", "-extfile", "san")


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PrivateServer]:
    """Give a server that has a certificate for 127.0.0.1, and take nothing else from who connects by TCP."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    found = need_private(request.param)
    try:
        found.stop()
        tls = found.folder / "tls"
        tls.mkdir()
        authority(tls, "ours")
        authority(tls, "strange")
        certificate(tls, "ours", "IP:127.0.0.1")
        found.own(tls)
        if request.param == "postgresql":
            (found.folder / "data/pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 trust\n")
            found.start("-c", "ssl=on", "-c", f"ssl_cert_file={tls}/server.pem", "-c", f"ssl_key_file={tls}/server.key")
        else:
            found.start(f"--ssl-ca={tls}/ours.pem", f"--ssl-cert={tls}/server.pem", f"--ssl-key={tls}/server.key",
                        "--require-secure-transport=ON")
        yield found
    finally:
        found.remove()


def url(server: PrivateServer, options: str, host: str = "127.0.0.1") -> str:
    return server.url("engram_tls").replace("127.0.0.1", host) + f"?{options}"


def refused(url: str, *said: str) -> EngramError:
    with pytest.raises(EngramError) as caught:
        open_database(url, Options()).close()
    text = str(caught.value)
    assert "\n" not in text and caught.value.hint and any(one in text for one in said), text
    return caught.value


def test_only_a_server_that_can_be_verified_is_talked_to(server: PrivateServer) -> None:
    secure, tls = SECURE[server.backend], server.folder / "tls"
    store = Store(url(server, f"{secure}{tls}/ours.pem"))
    assert store.database.writer().execute(IN_USE[server.backend])[0][0].startswith("TLSv1.")
    store.close()
    wrong = refused(url(server, f"{secure}{tls}/strange.pem"), "certificate")
    assert isinstance(wrong, ConfigError)
    assert isinstance(refused(url(server, f"{secure}{tls}/missing.pem"), "TLS files", "missing.pem"), ConfigError)
    # The certificate is for 127.0.0.1, not for localhost: that matters to who verifies the name, and to no other.
    assert isinstance(refused(url(server, f"{secure}{tls}/ours.pem", "localhost"), "localhost"), ConfigError)
    Store(url(server, f"{CA_ONLY[server.backend]}{tls}/ours.pem", "localhost")).close()
    refused(url(server, PLAIN[server.backend]), "no encryption", "Access denied")
