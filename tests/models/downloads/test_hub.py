"""Downloads from a hub: which files, in which version, with whose token; and what already lies in its own cache."""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from napari_foundseg.cli import app
from napari_foundseg.core.errors import DownloadError, FoundsegError, OfflineError
from napari_foundseg.models.catalog import CatalogRow, models_folder, row, save_row
from napari_foundseg.models.downloads.download import download
from napari_foundseg.models.downloads.hub import hub_token, keep_token
from napari_foundseg.models.downloads.model_state import model_state
from napari_foundseg.models.downloads.planning import make_plan
from napari_foundseg.models.importing import import_model
from napari_foundseg.models.loading import load_model
from napari_foundseg.models.store import hash_of, locate, weights
from tests.models.downloads.conftest import CONTENT, make_row
from tests.support import small_glip, web_server
from tests.support.web_server import COMMIT, Repo, WebServer

NAME = "lab/net"
BERT = "google-bert/bert-base-uncased"
FILES = {
    "config.json": b'{"model_type": "sam"}',
    "preprocessor_config.json": b"{}",
    "model.safetensors": CONTENT,
    "pytorch_model.bin": CONTENT[::-1],
    "net.pt": CONTENT[::-1],
    "README.md": b"# Net",
    "tf_model.h5": b"other",
    "onnx/model.onnx": b"other",
}
WANTED = {"config.json", "preprocessor_config.json", "model.safetensors"}


@pytest.fixture
def net(web: WebServer) -> CatalogRow:
    web.repos[NAME] = Repo(dict(FILES))
    return make_row("net", f"hf:{NAME}")


def served(web: WebServer) -> set[str]:
    """Return the names of all files whose bytes were sent."""
    return {path.removeprefix(f"/cdn/{NAME}/") for path, _ in web.requests if path.startswith("/cdn/")}


def test_a_folder_is_downloaded_without_what_its_model_does_not_need(web: WebServer, net: CatalogRow) -> None:
    words = make_plan(net).words
    assert "3 MB" in words
    assert "Licence of the weights: Apache-2.0" in words
    assert "names as licence: apache-2.0" in words
    new = download(net)
    folder = models_folder() / "downloads/net/net"
    assert locate(new) == folder
    assert {path.name for path in folder.iterdir()} == served(web) == WANTED
    assert not list(models_folder().rglob("download.json"))
    assert (new.revision, new.sha256) == (COMMIT, hash_of(folder))
    assert weights(row("net")) == folder
    assert row("net").source == f"hf:{NAME}"


def test_a_stopped_folder_goes_on_in_the_recorded_version(web: WebServer, net: CatalogRow) -> None:
    path = f"/cdn/{NAME}/model.safetensors"
    web.faults[path] = [web_server.drop_at(0.5), *[web_server.drop_at(0)] * 2]
    with pytest.raises(DownloadError, match="is kept"):
        download(net)
    assert model_state(row("net")).part_bytes > 1_500_000
    first, web.repos[NAME].commit = web.repos[NAME].commit, "feed" + "0" * 36
    with pytest.raises(DownloadError, match="has lost the version"):
        download(row("net"))
    web.repos[NAME].commit = first
    web.requests.clear()
    download(row("net"))
    assert served(web) == {"model.safetensors"}
    assert (models_folder() / "downloads/net/net/model.safetensors").read_bytes() == CONTENT


def test_the_hash_on_the_hubs_page_is_known(web: WebServer, net: CatalogRow) -> None:
    for file in ("config.json", "model.safetensors"):
        web.faults[f"/cdn/{NAME}/{file}"] = [web_server.flipped]
        with pytest.raises(DownloadError, match=f"{file} is not what it should be"):
            download(row("net"))
        assert locate(row("net")) is None
    assert model_state(download(row("net"))).kind == "ready"


def test_shards_are_all_needed(web: WebServer, net: CatalogRow) -> None:
    shards = {f"model-0000{i}-of-00002.safetensors": CONTENT[: 1000 * i] for i in (1, 2)}
    index = b'{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}'
    web.repos[NAME].files = {"config.json": b"{}", "model.safetensors.index.json": index, **shards}
    download(net)
    assert served(web) == {"config.json", "model.safetensors.index.json", *shards}


def test_a_file_of_a_repository_is_downloaded_with_its_known_hash(web: WebServer, net: CatalogRow) -> None:
    one = make_row("one", f"https://huggingface.co/{NAME}/resolve/main/net.pt", file="net.pt")
    web.faults[f"/cdn/{NAME}/net.pt"] = [web_server.flipped]
    with pytest.raises(DownloadError, match="not what it should be"):
        download(one)
    new = download(one)
    assert (new.file, new.revision, new.sha256) == (
        "downloads/one/net.pt",
        COMMIT,
        hashlib.sha256(CONTENT[::-1]).hexdigest(),
    )


def test_two_published_files_become_one_folder(web: WebServer) -> None:
    web.files |= {"/a/vit_b.pt": CONTENT, "/b/vit_b_decoder.pt": CONTENT[:1000]}
    pair = make_row("pair", f"{web.url}/a/vit_b.pt", beside=(f"{web.url}/b/vit_b_decoder.pt",), file="vit_b_lm")
    web.faults["/b/vit_b_decoder.pt"] = [web_server.refuse(404)]
    with pytest.raises(DownloadError, match="404"):
        download(pair)
    assert locate(row("pair")) is None
    web.requests.clear()
    new = download(row("pair"))
    folder = models_folder() / "downloads/pair/vit_b_lm"
    assert {path.name for path in folder.iterdir()} == {"vit_b.pt", "vit_b_decoder.pt"}
    assert not web.asked("/a/vit_b.pt"), "it was complete"
    assert new.sha256 == hash_of(folder)


def cached(tmp_path: Path, files: set[str], commit: str = COMMIT) -> Path:
    """Write files into the hub's own cache as its client does."""
    folder = tmp_path / "hub" / "hub" / f"models--{NAME.replace('/', '--')}"
    snapshot = folder / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(commit)
    for file in files:
        (snapshot / file).write_bytes(FILES[file])
    return snapshot


def test_a_model_in_the_hubs_cache_is_ready_and_stays_in_its_version(
    web: WebServer, net: CatalogRow, tmp_path: Path
) -> None:
    snapshot = cached(tmp_path, WANTED)
    assert model_state(net).kind == "ready"
    assert download(net) == net
    assert not web.requests
    assert weights(net) == snapshot
    assert row("net").revision == COMMIT
    # The hub's client fetches a newer version later.
    (snapshot.parent / ("b" * 40)).mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("b" * 40)
    assert locate(row("net")) == snapshot


def test_a_snapshot_without_its_weights_is_not_the_model_and_its_files_are_copied(
    web: WebServer, net: CatalogRow, tmp_path: Path
) -> None:
    cached(tmp_path, {"config.json"})
    assert model_state(net).kind == "to download"
    assert "1 of 3 files are in the hub's cache" in make_plan(net).words
    download(net)
    assert served(web) == WANTED - {"config.json"}
    assert (models_folder() / "downloads/net/net/config.json").read_bytes() == FILES["config.json"]


def test_gated_unknown_and_faulty_hubs_are_told_apart(web: WebServer, net: CatalogRow) -> None:
    web.repos[NAME].gated = True
    web.accounts = {"hf_known": "ada"}
    page = f"{web.url}/{NAME}"
    with pytest.raises(DownloadError, match=f"is gated.*Log in at {page}, accept the terms, make a token"):
        download(net)
    with pytest.raises(DownloadError, match="does not know this token"):
        keep_token("hf_unknown")
    assert hub_token() is None
    assert not (models_folder() / "downloads/net").exists(), "nothing is left of it"
    assert model_state(net).kind == "to download"
    assert keep_token("hf_known") == "ada"
    assert hub_token() == "hf_known"
    with pytest.raises(DownloadError, match=f"has not been given access: open {page}"):
        download(net)
    assert not (models_folder() / "downloads/net").exists()
    web.repos[NAME].accepted = {"hf_known"}
    assert model_state(download(net)).kind == "ready"
    assert all("authorization" not in headers for path, headers in web.requests if path.startswith("/cdn/"))
    with pytest.raises(DownloadError, match="is not a repository that your token may see"):
        download(make_row("other", "hf:lab/other"))
    web.api_status = 500
    with pytest.raises(DownloadError, match=r"has a fault or is busy \(HTTP 500\)"):
        download(make_row("other", "hf:lab/other"))


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (200, b"<html>Log in</html>", "sends something other than the hub's facts about lab/net.*a login first"),
        (200, b"[]", "sends something other than the hub's facts"),
        (200, b"{}", "sends something other than the hub's facts"),
        (403, b"", r"refuses \(HTTP 403\); open this address in a browser"),
        (429, b"", r"is busy \(HTTP 429\); try again later"),
    ],
)
def test_answers_that_are_not_the_hubs_are_named_and_leave_nothing(
    web: WebServer, net: CatalogRow, status: int, body: bytes, words: str
) -> None:
    web.api_status, web.api_body = status, body
    with pytest.raises(DownloadError, match=words):
        download(net)
    if status == 200:
        with pytest.raises(DownloadError, match="sends something other"):
            keep_token("hf_known")
    assert not (models_folder() / "downloads/net").exists()
    web.api_status = 0
    assert model_state(download(row("net"))).kind == "ready"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read.*give a text file"),
        (b"\xd0\xff", "cannot be read.*give a text file"),
        (b"\n", "The token is empty; copy it again from"),
        (b"hf_one hf_two", "has spaces or other characters"),
    ],
)
def test_a_file_that_holds_no_token_is_named(web: WebServer, tmp_path: Path, content: bytes | None, words: str) -> None:
    file = tmp_path / "token.txt"
    if content is not None:
        file.write_bytes(content)
    refused = CliRunner().invoke(app, ["models", "login", "--token-file", str(file)])
    with pytest.raises(FoundsegError, match=words):
        raise refused.exception  # type: ignore[misc]
    assert not web.requests
    web.accounts = {"hf_known": "ada"}
    file.write_text("hf_known\n")
    assert "The token of ada" in CliRunner().invoke(app, ["models", "login", "--token-file", str(file)]).output


def test_a_repository_without_weights_is_named(web: WebServer, net: CatalogRow) -> None:
    web.repos[NAME].files = {"config.json": b"{}", "README.md": b""}
    with pytest.raises(DownloadError, match="holds no weights"):
        download(net)
    with pytest.raises(DownloadError, match=r"has no file gone.pt"):
        download(make_row("gone", f"https://huggingface.co/{NAME}/resolve/main/gone.pt"))


@pytest.mark.parametrize("variable", ["FOUNDSEG_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_names_the_file_the_place_and_the_switch(
    web: WebServer, net: CatalogRow, big: CatalogRow, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "1")
    place = models_folder() / "downloads/big/big.pth"
    with pytest.raises(OfflineError, match=f"{web.url}/files/big.pth.*{variable} is set.*{place}"):
        download(big)
    with pytest.raises(OfflineError, match=f"huggingface.co/{NAME}"):
        download(net)
    with pytest.raises(OfflineError, match="token"):
        keep_token("hf_known")
    assert not web.requests
    monkeypatch.delenv(variable)
    assert model_state(download(big)).kind == "ready"


def test_a_proxy_sees_metadata_and_bytes_of_hub_and_files(
    web: WebServer, net: CatalogRow, big: CatalogRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    proxy = WebServer()
    proxy.files, proxy.repos, proxy.elsewhere = web.files, web.repos, "http://cdn.example"
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.example")
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, proxy.url)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    huggingface_hub.close_session()
    try:
        download(net)
        download(big)
        assert {path.partition(f"/{NAME}")[0] for path, _ in proxy.requests} >= {"/api/models", "", "/cdn"}
        assert [path for path, _ in web.requests] == ["/files/big.pth"], "NO_PROXY"
    finally:
        huggingface_hub.close_session()
        proxy.close()


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_certificates_that_are_not_there_are_named(
    big: CatalogRow, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    monkeypatch.setenv(variable, str(tmp_path / "company.pem"))
    with pytest.raises(DownloadError, match=f"{variable} names certificates at .*company.pem"):
        download(big)


def test_a_certificate_that_nobody_vouches_for_is_refused_and_the_variable_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server, certificate = secure_server(tmp_path)
    secure = make_row("secure", f"{server.url.replace('http:', 'https:').replace('127.0.0.1', 'localhost')}/w.pth")
    server.files["/w.pth"] = CONTENT
    try:
        with pytest.raises(DownloadError, match=r"is not trusted.*SSL_CERT_FILE or REQUESTS_CA_BUNDLE"):
            download(secure)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        assert model_state(download(row("secure"))).kind == "ready"
    finally:
        server.close()


def secure_server(folder: Path) -> tuple[WebServer, Path]:
    """Return a server with a certificate of its own, and that certificate."""
    import datetime as dt

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - dt.timedelta(1)).not_valid_after(now + dt.timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = folder / "own.pem"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret = folder / "key.pem"
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, secret)
    return WebServer(context), pem


def test_glip_is_downloaded_with_the_vocabulary_that_its_file_lacks(web: WebServer, tmp_path: Path) -> None:
    network = small_glip.write(tmp_path / "there/glip.pth")
    web.files["/mm/glip.pth"] = network.read_bytes()
    words = (tmp_path / "there/vocab.txt").read_bytes()
    web.repos[BERT] = Repo({"vocab.txt": words, "config.json": b"{}", "model.safetensors": CONTENT})
    published = replace(row("glip-tiny"), source=f"{web.url}/mm/glip.pth")
    assert BERT in published.beside[0]
    save_row(published)
    new = download(published)
    folder = models_folder() / "downloads/glip-tiny/glip-tiny"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "glip.pth": network.read_bytes(),
        "vocab.txt": words,
    }
    assert new.revision == "published", "the commit is the vocabulary's, not the model's"
    assert load_model("glip-tiny").token_count("two small cells") == 6


def test_a_folder_with_both_files_is_the_row_of_glip(tmp_path: Path) -> None:
    small_glip.write(tmp_path / "glip-tiny/glip.pth")
    new = import_model(tmp_path / "glip-tiny")
    assert (new.name, new.good_for) == ("glip-tiny", row("glip-tiny").good_for)
    assert new.title == "GLIP-T"
