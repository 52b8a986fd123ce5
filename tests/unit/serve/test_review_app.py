"""The page of a review over HTTP: queue, pictures, saves, and who may write."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.reviews import SIZE, make_session
from PIL import Image
from starlette.testclient import TestClient

from weakspot.data.images import read_image
from weakspot.serve.review_app import make_review_app
from weakspot.serve.review_pictures import Kept, Pictures, heat_png

NAMES = [f"p{i:02d}.png" for i in range(7)]


class Page(TestClient):
    """A client that shows the token, as the page does."""

    def __init__(self, root: Path, **options: Any) -> None:
        self.session_ = make_session(root, options.pop("names", NAMES), **options)
        super().__init__(make_review_app(self.session_, hosts=["localhost"]), base_url="http://localhost")
        self.headers["x-weakspot-token"] = self.get("/api/session").json()["token"]

    def picture(self, index: int) -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"/api/pictures/{index}").json()
        return found

    def save(self, index: int, **changes: Any) -> Any:
        now = self.picture(index)
        content = {key: now[key] for key in ("version", "state", "label", "boxes")} | changes
        return self.put(f"/api/pictures/{index}", json=content)


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with Page(tmp_path) as client:
        yield client


def test_the_page_and_its_files_are_its_own(page: Page) -> None:
    answer = page.get("/")
    assert '<script type="module" src="/static/app.js">' in answer.text
    for inline in ("<style", " style=", "onclick", "<script>"):
        assert inline not in answer.text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for file in ("app.js", "api.js", "view.js", "boxes.js", "queue.js", "summary.js", "training.js", "review.css"):
        assert page.get(f"/static/{file}").status_code == 200
        assert "http" not in page.get(f"/static/{file}").text.replace("http://www.w3.org/2000/svg", "")


def test_the_queue_comes_in_pages_and_by_state(page: Page) -> None:
    first = page.get("/api/queue?start=2&count=3").json()
    assert (first["total"], [row["index"] for row in first["rows"]]) == (7, [2, 3, 4])
    assert page.save(3, state="reviewed").status_code == 200
    assert page.save(5, state="skipped").status_code == 200
    assert [row["index"] for row in page.get("/api/queue?show=looked").json()["rows"]] == [3]
    assert page.get("/api/queue?show=todo").json()["total"] == 5
    assert page.get("/api/next?after=2&show=todo").json() == {"index": 4}
    assert page.get("/api/next?after=4&show=todo&back=true").json() == {"index": 2}
    assert page.get("/api/next?after=6").json() == {"index": None}
    assert page.get("/api/position?index=4&show=todo").json() == {"row": 3}
    assert page.get("/api/queue?show=anything").status_code == 422
    assert page.get("/api/pictures/7").status_code == 404


def test_coming_back_opens_where_one_was(page: Page) -> None:
    def resumed() -> int:
        return int(page.get("/api/session").json()["resume"])

    assert resumed() == 0
    page.save(2, state="reviewed")
    assert resumed() == 3
    page.save(4, label="good", boxes=[], state="draft")
    assert resumed() == 4
    for i in range(7):
        page.save(i, state="skipped")
    assert resumed() == 6


def test_two_windows_do_not_lose_each_others_work(page: Page) -> None:
    mine = page.picture(0)
    theirs = page.save(0, boxes=[{"x0": 1, "y0": 2, "x1": 9, "y1": 9, "label": "anomaly"}], state="draft").json()
    stale = {key: mine[key] for key in ("version", "state", "label", "boxes")} | {"state": "reviewed"}
    answer = page.put("/api/pictures/0", json=stale)
    assert answer.status_code == 409
    assert answer.json()["detail"] == "this picture was changed in another window"
    assert answer.json()["picture"] == theirs == page.picture(0)
    assert page.put("/api/pictures/1", json={**stale, "version": 0}).status_code == 200


def test_only_the_page_itself_may_write(page: Page) -> None:
    body = {"version": 0, "state": "reviewed", "label": "good", "boxes": []}
    for token in ("", "guessed", "ü"):
        headers = {"x-weakspot-token": token.encode()}
        assert page.put("/api/pictures/0", json=body, headers=headers).status_code == 403
        assert page.post("/api/training", headers=headers).status_code == 403
    assert page.get("/api/session", headers={"host": "evil.example"}).status_code == 400
    assert not page.session_.store.file.exists()


def test_every_answer_names_its_review(page: Page, tmp_path: Path) -> None:
    def named(**options: Any) -> str:
        root, names = options.pop("root", tmp_path), options.pop("names", NAMES)
        with TestClient(make_review_app(make_session(root, names, **options))) as client:
            return client.get("/api/session").headers["x-weakspot-review"]

    own = named()
    for answer in (page.get("/api/queue"), page.get("/api/pictures/7"), page.put("/api/pictures/0", json={})):
        assert answer.headers["x-weakspot-review"] == own
    assert page.post("/api/training", headers={"x-weakspot-token": ""}).headers["x-weakspot-review"] == own
    others = [named(file=tmp_path / "other.json"), named(names=NAMES[::-1]), named(names=NAMES[:-1])]
    assert len({own, *others}) == 4


@pytest.mark.parametrize(
    "changes",
    [
        {"label": "dent"}, {"state": "done"}, {"boxes": [{"x0": 0, "y0": 0, "x1": 1e9, "y1": 4, "label": "anomaly"}]},
        {"boxes": [{"x0": 0.5, "y0": 0, "x1": 3, "y1": 4, "label": "anomaly"}]}, {"boxes": "none"}, {"version": "x"},
        {"label": "good", "boxes": [{"x0": 0, "y0": 0, "x1": 3, "y1": 4, "label": "anomaly"}]},
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line(page: Page, changes: dict[str, Any]) -> None:
    answer = page.save(0, **changes)
    assert answer.status_code == 422
    assert "\n" not in answer.json()["detail"]
    assert not page.session_.store.file.exists()


def test_a_picture_that_is_gone_is_told(page: Page) -> None:
    page.session_.store.pictures[0].path.unlink()
    assert page.save(0, state="reviewed").status_code == 422
    assert "no such file" in page.get("/pictures/0/preview.jpg").json()["detail"]


def test_names_are_text_and_need_not_be_utf8(tmp_path: Path) -> None:
    names = ["<b>&amp;.png", b"caf\xe9.png".decode("utf-8", "surrogateescape"), "a\nb.png"]
    with Page(tmp_path, names=names) as page:
        rows = page.get("/api/queue").json()["rows"]
        assert [row["name"] for row in rows] == ["photos/<b>&amp;.png", "photos/caf\\udce9.png", "photos/a\nb.png"]
        for i in range(3):
            assert page.save(i, state="reviewed").status_code == 200
        again = make_session(tmp_path, names).store
        assert [review.state for review in again.reviews()] == ["reviewed"] * 3


def test_the_bar_counts(page: Page) -> None:
    for i in range(3):
        page.save(i, state="reviewed")
    found = page.get("/api/summary?index=0").json()
    assert (found["reviewed"], found["precision"]["n"], found["labels"]["n"], found["version"]) == (3, 3, 3, 1)
    assert page.get("/api/summary").json()["calm"] == 3
    empty = make_session(page.session_.store.file.parent / "x", ["a.png"])
    with TestClient(make_review_app(empty)) as other:
        assert other.get("/api/summary").json()["precision"]["value"] is None


# --- pictures ---------------------------------------------------------------------------------------------------------


def opened(content: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGBA"))


def test_tiles_are_the_picture_to_the_pixel(tmp_path: Path) -> None:
    size = (700, 1100)
    with Page(tmp_path, names=["large.png"], size=size) as page:
        image = read_image(page.session_.store.pictures[0].path)
        whole = np.zeros((*size, 3), np.uint8)
        for row in range(2):
            for column in range(3):
                tile = opened(page.get(f"/pictures/0/tiles/0/{column}/{row}.png").content)[..., :3]
                whole[row * 512 : row * 512 + 512, column * 512 : column * 512 + 512] = tile
        assert np.array_equal(whole, image)
        half = opened(page.get("/pictures/0/tiles/1/1/0.png").content)
        assert half.shape[:2] == (350, 38)
        for wrong in ("0/3/0", "0/0/2", "9/0/0", "0/-1/0"):
            assert page.get(f"/pictures/0/tiles/{wrong}.png").status_code == 404


def test_fifty_megapixels_are_served_in_tiles_from_one_decoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "huge.png"
    Image.fromarray(np.tile(np.arange(256, dtype=np.uint8), (5800, 34))).save(path, compress_level=1)  # 5800×8704
    decoded = list[Path]()

    def counted(file: Path) -> Any:
        decoded.append(file)
        return read_image(file)

    monkeypatch.setattr("weakspot.serve.review_pictures.read_image", counted)
    pictures = Pictures()
    small = Image.open(io.BytesIO(pictures.preview(path)))
    assert max(small.size) == 1600
    for level, column, row in ((0, 0, 0), (0, 16, 11), (1, 8, 5), (2, 4, 2)):
        content = pictures.tile(path, level, column, row)
        assert content is not None
        assert max(Image.open(io.BytesIO(content)).size) <= 512
    assert len(decoded) == 1


def test_what_is_kept_stays_within_its_budget() -> None:
    made = list[int]()
    kept: Kept[int, bytes] = Kept(100, len)

    def make(number: int) -> bytes:
        made.append(number)
        return b"x" * 40

    for number in (1, 2, 1, 3, 1, 2):
        kept.get(number, lambda number=number: make(number))  # type: ignore[misc]
    assert made == [1, 2, 3, 2]  # 1 was used more lately than 2
    assert kept.bytes == 80
    assert kept.get(9, lambda: b"x" * 1000) == b"x" * 1000  # larger than the budget, and kept alone
    assert kept.bytes == 1000


def test_maps_share_one_scale(page: Page) -> None:
    map_ = opened(page.get("/pictures/0/map.png").content)
    assert map_.shape == (96, 96, 4)
    x0, y0, x1, y1 = page.session_.store.pictures[0].boxes[0].xyxy
    middle = map_[(y0 + y1) // 2 * 96 // SIZE[0], (x0 + x1) // 2 * 96 // SIZE[1]]
    assert middle[3] > 100
    assert map_[90, 90, 3] == 0
    flat = np.full((2, 3), 255, np.uint8)
    faint, hot = (opened(heat_png(flat, 0.0, high, (0.0, 1.0))) for high in (0.1, 1.0))
    assert faint[..., 3].max() < 30 < hot[..., 3].min()


def test_a_queue_of_five_thousand_pictures_answers_at_once(tmp_path: Path) -> None:
    """A save writes all of the file; with 5,000 pictures said of it stays a matter of a moment."""
    session = make_session(tmp_path, ["a.png"])
    many = [session.store.pictures[0]] * 5000
    store = type(session.store)(tmp_path / "many.json", [], ["good", "anomaly"])
    store.pictures = many
    review = store.review(0)
    store._known = {i: type(review)(review.label, review.boxes, "reviewed", i + 1, "0" * 64) for i in range(5000)}
    store._count = 5000
    assert len(store.snapshot()) > 1_000_000
    app = make_review_app(type(session)("r", store, session.maps, None))
    with TestClient(app) as client:
        client.headers["x-weakspot-token"] = client.get("/api/session").json()["token"]
        body = {"version": 1, "state": "reviewed", "label": "good", "boxes": []}
        assert client.put("/api/pictures/0", json=body).json()["version"] == 5001
        assert client.get("/api/queue?start=4950&count=100").json()["total"] == 5000
        assert len(client.get("/api/queue?count=100000").json()["rows"]) == 500
        assert client.get("/api/summary").json()["reviewed"] == 5000
