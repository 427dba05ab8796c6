"""Claims about data that clients send."""

from __future__ import annotations

import struct
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
from serving import Service, said, serving, space
from studies import IRIS

from tuner.service.options import Limits

TABLE = "width,height,kind\n" + "".join(f"{n * 0.5},{n % 7},{'ab'[n % 2]}\n" for n in range(60))


def test_an_uploaded_table_is_registered_proposed_and_launched(service: Service) -> None:
    """By its name alone: where it lies is said nowhere; the proposal can be submitted as it is."""
    made = service.ask("PUT", "datasets/plants?type=csv", content=TABLE)
    assert made.status_code == 201, made.text
    assert made.json()["size"] == len(TABLE)
    listed = service.ask("GET", "datasets")
    assert [each["name"] for each in listed.json()["datasets"]] == ["plants"]
    found = service.ask("GET", "datasets/plants")
    assert [column["name"] for column in found.json()["columns"]] == ["width", "height", "kind"]
    proposal = service.ask("GET", "datasets/plants/proposal")
    assert "dataset:plants" in proposal.text
    checked = service.ask("POST", "check", content=proposal.text)
    assert checked.status_code == 200, checked.text
    root = str(service.app.state.options.workspace.data_root)
    assert not [each for each in (made, listed, found, proposal, checked) if root in each.text]
    assert service.submit(proposal.text).status_code == 201
    assert "is used by plants" in said(service.ask("DELETE", "datasets/plants"))


def test_data_goes_with_its_name(service: Service) -> None:
    """An uploaded file is removed; a name is given once."""
    assert service.ask("PUT", "datasets/iris.npy", content=IRIS.read_bytes()).status_code == 201
    (stored,) = (service.app.state.options.workspace.data_root / "uploads").iterdir()
    assert service.ask("PUT", "datasets/iris.npy", content=IRIS.read_bytes()).status_code == 422
    assert list(stored.parent.iterdir()) == [stored]
    assert service.ask("DELETE", "datasets/iris.npy").status_code == 204
    assert not stored.exists()
    assert service.ask("DELETE", "datasets/iris.npy").status_code == 404


def test_what_cannot_be_read_leaves_nothing_behind(service: Service) -> None:
    """Objects that would run code, bombs, other kinds of file, names that lead elsewhere."""
    pickled = BytesIO()
    np.save(pickled, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    bomb = BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        shape = struct.pack("<H", 118) + b"{'descr': '<f8', 'fortran_order': False, 'shape': (100000000, 100), }".ljust(
            118
        )
        archive.writestr("rows.npy", b"\x93NUMPY\x01\x00" + shape + bytes(1_000_000))
    cases = {
        "datasets/a?type=npy": pickled.getvalue(),
        "datasets/b?type=npz": bomb.getvalue(),
        "datasets/c?type=csv": b"\x00\xff" * 100,
        "datasets/d?type=pkl": b"x",
        "datasets/e": b"x",
        "datasets/.hidden?type=csv": TABLE.encode(),
        "datasets/%2e%2e?type=csv": TABLE.encode(),
        "datasets/f?type=csv": b"",
    }
    for path, content in cases.items():
        answer = service.ask("PUT", path, content=content)
        assert 400 <= answer.status_code < 500, (path, answer.text)
    folder = service.app.state.options.workspace.data_root / "uploads"
    assert list(folder.iterdir()) == []
    assert service.ask("GET", "datasets").json()["datasets"] == []


def test_an_upload_has_a_largest_size_and_a_reader_a_longest_time(tmp_path: Path) -> None:
    """A larger body is refused before it is read, and while it comes where it does not say how large it is."""
    with serving(tmp_path, limits=Limits(upload_bytes=1000, helper_seconds=0.2)) as service:
        large = service.ask("PUT", "datasets/a?type=csv", content=TABLE * 10)
        assert large.status_code == 413
        stream = service.ask("PUT", "datasets/a?type=csv", content=(TABLE[:500].encode() for _ in range(10)))
        assert stream.status_code == 413
        assert "within 0.2 seconds" in said(service.ask("PUT", "datasets/a?type=csv", content=TABLE))
        assert list((tmp_path / "data" / "uploads").iterdir()) == []


def test_without_a_data_root_nothing_is_uploaded(tmp_path: Path) -> None:
    """The sentence says what the operator would have to set."""
    with serving(tmp_path, with_root=False) as service:
        assert service.ask("GET", "datasets").json()["may_upload"] is False
        assert "TUNER_DATA_ROOT" in said(service.ask("PUT", "datasets/a?type=csv", content=TABLE))


def test_a_link_out_of_the_data_root_is_not_followed(service: Service, tmp_path: Path) -> None:
    """Even where it was registered before it was a link."""
    root = service.app.state.options.workspace.data_root
    (root / "rows.npy").write_bytes(IRIS.read_bytes())
    service.ledger.datasets.add("rows", str(root / "rows.npy"), 1, "operator")
    assert service.ask("POST", "check", content=space(data={"source": "dataset:rows"})).status_code == 200
    (tmp_path / "outside.npy").write_bytes(IRIS.read_bytes())
    (root / "rows.npy").unlink()
    (root / "rows.npy").symlink_to(tmp_path / "outside.npy")
    refused = service.ask("POST", "check", content=space(data={"source": "dataset:rows"}))
    assert "inside the data root" in said(refused)


def test_beyond_the_disk_quota_nothing_new_is_taken(tmp_path: Path) -> None:
    """Neither a study nor data, nor a study again that has ended; what is deleted makes room at once."""
    with serving(tmp_path, limits=Limits(disk_bytes=len(TABLE))) as service:
        assert service.ask("PUT", "datasets/a?type=csv", content=TABLE).status_code == 201
        service.app.state.studies.quota.forget()  # files are counted twice a minute
        for refused in (service.submit(), service.ask("PUT", "datasets/b?type=csv", content=TABLE)):
            assert refused.status_code == 409
            assert refused.json()["type"] == "urn:tuner:quota"
            assert "delete studies or data" in said(refused)
        assert len(list((tmp_path / "data" / "uploads").iterdir())) == 1
        assert service.ask("DELETE", "datasets/a").status_code == 204
        assert service.submit().status_code == 201


def test_data_that_a_split_names_is_in_use(service: Service, tmp_path: Path) -> None:
    """A table that only tests is no more removed than the one that trains."""
    for name in ("training", "validating", "testing"):
        assert service.ask("PUT", f"datasets/{name}?type=csv", content=TABLE).status_code == 201
    split = {"validation": "dataset:validating", "test": "dataset:testing"}
    made = service.submit(space(name="by-files", data={"source": "dataset:training", "split": split}))
    assert made.status_code == 201, made.text
    for name in ("training", "validating", "testing"):
        refused = service.ask("DELETE", f"datasets/{name}")
        assert refused.status_code == 409
        assert "is used by by-files" in said(refused)
