"""Decoding, masks, preprocessing and inspection of single files."""

import hashlib
import os
import struct
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from weakspot.data import images
from weakspot.data.images import (
    EXTENSIONS,
    ImageInfo,
    inspect_image,
    inspect_images,
    is_image,
    list_images,
    read_image,
    read_mask,
    to_rgb,
)
from weakspot.data.preprocess import Preprocess
from weakspot.errors import WeakspotError

HEIGHT, WIDTH = 6, 10


@pytest.fixture
def grey() -> np.ndarray:
    """A ramp that is different in every corner, as RGB of equal channels."""
    ramp = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH) * 4
    return np.repeat(ramp[:, :, None], 3, axis=2)


@pytest.fixture
def colour() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def save(path: Path, array: np.ndarray | Image.Image, **options: object) -> Path:
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    image.save(path, **options)
    return path


def message_of(path: Path) -> str:
    with pytest.raises(WeakspotError) as caught:
        read_image(path)
    text = str(caught.value)
    assert "\n" not in text
    assert path.name in text
    return text


# ------------------------------------------------------------------------------------------------------------- listing


@pytest.mark.parametrize("name", [f"a.{extension}" for extension in EXTENSIONS] + ["A.PNG", "b.JpEg", "a.b.tif"])
def test_images_are_known_by_extension_in_any_case(name: str) -> None:
    assert is_image(Path(name))


@pytest.mark.parametrize("name", ["._a.png", ".DS_Store", "Thumbs.db", "a.txt", "png", ".png", "a.png.part", "a.gif"])
def test_other_files_are_no_images(name: str) -> None:
    assert not is_image(Path(name))


def test_listing_is_recursive_sorted_and_skips_the_hidden(tmp_path: Path) -> None:
    names = ["b.png", "a/z.JPG", "a/deep/1.tif", "a-1/x.png", "名前 (1)/é.webp"]
    for name in [*names, ".hidden/x.png", "._b.png", "a/Thumbs.db", "__MACOSX/a/b.png", ".DS_Store"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in list_images(tmp_path)]
    assert found == ["a/deep/1.tif", "a/z.JPG", "a-1/x.png", "b.png", "名前 (1)/é.webp"]


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.png").touch()
    (tmp_path / "a/loop").symlink_to(tmp_path)
    (tmp_path / "b").symlink_to(tmp_path / "a")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    found = [path.relative_to(tmp_path).as_posix() for path in list_images(tmp_path)]
    assert found == ["a/1.png", "b/1.png", "gone.png"]
    assert "no such file" in message_of(tmp_path / "gone.png")


def test_listing_what_is_no_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(WeakspotError, match=r"nowhere: no such file or directory; give"):
        list_images(tmp_path / "nowhere")


# ------------------------------------------------------------------------------------------------------------- formats


@pytest.mark.parametrize("extension", ["png", "bmp", "tif", "tiff", "webp"])
def test_lossless_formats_are_read_exactly(tmp_path: Path, colour: np.ndarray, extension: str) -> None:
    options = {"lossless": True} if extension == "webp" else {}
    image = read_image(save(tmp_path / f"a.{extension}", colour, **options))
    np.testing.assert_array_equal(image, colour)
    assert image.dtype == np.uint8
    assert image.flags.writeable


def test_jpeg_is_read_closely(tmp_path: Path, grey: np.ndarray) -> None:
    image = read_image(save(tmp_path / "a.jpg", grey, quality=100))
    np.testing.assert_allclose(image.astype(int), grey, atol=3)


def test_the_content_decides_the_format(tmp_path: Path, colour: np.ndarray) -> None:
    path = save(tmp_path / "a.jpg", colour, format="PNG")
    np.testing.assert_array_equal(read_image(path), colour)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "CMYK", "P"])
def test_every_mode_gives_the_same_picture(tmp_path: Path, grey: np.ndarray, mode: str) -> None:
    stored = Image.fromarray(grey)
    stored = Image.fromarray(grey[..., 0]).convert("P") if mode == "P" else stored.convert(mode)
    path = save(tmp_path / ("a.tif" if mode == "CMYK" else "a.png"), stored)
    with Image.open(path) as image:
        assert image.mode == mode
    np.testing.assert_array_equal(read_image(path), grey)


def test_cmyk_jpeg(tmp_path: Path, grey: np.ndarray) -> None:
    path = save(tmp_path / "a.jpg", Image.fromarray(grey).convert("CMYK"), quality=100)
    np.testing.assert_allclose(read_image(path).astype(int), grey, atol=4)


def test_one_bit(tmp_path: Path) -> None:
    bits = np.zeros((HEIGHT, WIDTH), bool)
    bits[1, 2:7] = True
    path = save(tmp_path / "a.png", Image.fromarray(bits))
    np.testing.assert_array_equal(read_image(path), np.where(bits, 255, 0)[:, :, None].repeat(3, axis=2))


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bit_grey_keeps_the_high_byte(tmp_path: Path, name: str) -> None:
    values = np.full((HEIGHT, WIDTH), 65535, np.uint16)
    values[0, :4] = 0, 255, 256, 0x7FFF
    path = save(tmp_path / name, values)
    with Image.open(path) as image:
        assert image.mode.startswith("I")
    expected = np.full((HEIGHT, WIDTH), 255, np.uint8)
    expected[0, :4] = 0, 0, 1, 0x7F
    np.testing.assert_array_equal(read_image(path), expected[:, :, None].repeat(3, axis=2))


def test_sixteen_bit_big_endian_and_thirty_two_bit_tiff(tmp_path: Path, grey: np.ndarray) -> None:
    deep = grey[..., 0].astype(np.uint16) * 257
    big = Image.frombytes("I;16B", (WIDTH, HEIGHT), deep.astype(">u2").tobytes())
    np.testing.assert_array_equal(read_image(save(tmp_path / "big.tif", big)), grey)
    np.testing.assert_array_equal(read_image(save(tmp_path / "wide.tif", deep.astype(np.int32))), grey)
    with pytest.raises(WeakspotError, match=r"beyond\.tif: holds values outside 0…65535; convert it"):
        read_image(save(tmp_path / "beyond.tif", np.full((3, 4), 65536, np.int32)))


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bit_colour(tmp_path: Path, colour: np.ndarray, name: str) -> None:
    import cv2

    cv2.imwrite(str(tmp_path / name), colour[..., ::-1].astype(np.uint16) * 257)
    np.testing.assert_array_equal(read_image(tmp_path / name), colour)


def test_floating_point_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = save(tmp_path / "depth.tif", np.zeros((HEIGHT, WIDTH), np.float32))
    assert message_of(path).endswith("depth.tif: holds floating-point values; convert it to 8 or 16 bit")
    with pytest.raises(WeakspotError, match="floating-point"):
        read_mask(path, (HEIGHT, WIDTH))


def test_transparency_is_laid_over_white(tmp_path: Path, colour: np.ndarray) -> None:
    alpha = np.full((HEIGHT, WIDTH), 255, np.uint8)
    alpha[0, 0], alpha[0, 1] = 0, 128
    colour[0, 1] = 0
    image = read_image(save(tmp_path / "a.png", np.dstack([colour, alpha])))
    assert image[0, 0].tolist() == [255, 255, 255]
    assert image[0, 1].tolist() == [127, 127, 127]
    np.testing.assert_array_equal(image[1:], colour[1:])


def test_transparent_palette_and_transparent_grey(tmp_path: Path) -> None:
    indices = np.zeros((HEIGHT, WIDTH), np.uint8)
    indices[2, 3], indices[4, 5] = 1, 2
    stored = Image.fromarray(indices).convert("P")
    stored.putpalette([10, 20, 30, 200, 0, 0, 0, 0, 250])
    image = read_image(save(tmp_path / "palette.png", stored, transparency=bytes([255, 0, 255])))
    assert image[0, 0].tolist() == [10, 20, 30]
    assert image[2, 3].tolist() == [255, 255, 255]
    assert image[4, 5].tolist() == [0, 0, 250]
    keyed = read_image(save(tmp_path / "grey.png", indices, transparency=1))
    assert keyed[2, 3].tolist() == [255, 255, 255]
    assert keyed[4, 5].tolist() == [2, 2, 2]


@pytest.mark.parametrize("extension", ["tif", "gif", "png", "webp"])
def test_the_first_picture_of_many_is_read(tmp_path: Path, grey: np.ndarray, extension: str) -> None:
    frames = [Image.fromarray(grey), Image.fromarray(255 - grey)]
    options = {"lossless": True} if extension == "webp" else {}
    path = save(tmp_path / f"a.{extension}", frames[0], save_all=True, append_images=frames[1:], **options)
    np.testing.assert_array_equal(read_image(path), grey)


ORIENTED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", ORIENTED)
@pytest.mark.parametrize(("name", "deep"), [("a.png", False), ("a.tif", False), ("a.png", True), ("a.tif", True)])
def test_orientation_is_applied(tmp_path: Path, grey: np.ndarray, orientation: int, name: str, deep: bool) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = grey[..., 0].astype(np.uint16) * 257 if deep else grey
    path = save(tmp_path / name, stored, exif=exif)
    expected = ORIENTED[orientation](grey)
    np.testing.assert_array_equal(read_image(path), expected)
    info = inspect_image(path)
    assert (info.height, info.width) == expected.shape[:2]


def test_orientation_of_a_jpeg_and_of_a_pillow_image(tmp_path: Path) -> None:
    image = np.zeros((40, 64, 3), np.uint8)
    image[:10, :10] = 255  # top left; orientation 6 turns it to the top right
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / "a.jpg", image, exif=exif)
    seen = read_image(path)
    assert seen.shape == (64, 40, 3)
    assert seen[:10, -10:].min() > 200
    assert seen[15:].max() < 40
    with Image.open(path) as opened:
        np.testing.assert_array_equal(to_rgb(opened), seen)
        assert opened.size == (64, 40)


def test_damaged_exif_does_not_spoil_a_sound_image(tmp_path: Path, colour: np.ndarray) -> None:
    path = save(tmp_path / "a.png", colour, exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xffrubbish")
    np.testing.assert_array_equal(read_image(path), colour)


# ---------------------------------------------------------------------------------------------------------- bad files


@pytest.mark.parametrize("extension", ["png", "jpg", "bmp", "tif", "webp"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_truncated_files(tmp_path: Path, extension: str, share: float) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (60, 100, 3), dtype=np.uint8)
    path = save(tmp_path / f"cut.{extension}", noise)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    text = message_of(path)
    assert "copy it again" in text or "save it as PNG" in text
    info = inspect_image(path)
    assert info.error == text
    assert info.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (info.height, info.width, info.mode) == (0, 0, "")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "the file is empty; copy it again or remove it"),
        (
            b"hello, I am text\n",
            "not an image in a known format, or damaged at its start; save it as PNG or JPEG, or remove it",
        ),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n", "not an image in a known format"),
        (b"\x89PNG\r\n\x1a\n" + b"\x00" * 40, "damaged at its start"),
    ],
    ids=["empty", "text", "postscript", "only a signature"],
)
def test_files_that_are_no_images(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(content)
    assert expected in message_of(path)


def test_missing_folder_pipe_and_forbidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert message_of(tmp_path / "none.png").endswith("none.png: no such file; check the name")
    (tmp_path / "folder.png").mkdir()
    assert "this is a folder" in message_of(tmp_path / "folder.png")
    os.mkfifo(tmp_path / "pipe.png")
    assert "not a regular file" in message_of(tmp_path / "pipe.png")
    locked = tmp_path / "locked.png"
    locked.write_bytes(b"x")

    def refuse(_: Path) -> bytes:  # chmod would not stop root, which tests may run as
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert "no permission to read it" in message_of(locked)


def test_a_line_break_in_the_name_stays_out_of_the_message(tmp_path: Path) -> None:
    with pytest.raises(WeakspotError) as caught:
        read_image(tmp_path / "a\nb.png")
    assert "\n" not in str(caught.value)
    assert "a\\nb.png" in str(caught.value)


def png_of_claimed_size(height: int, width: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def test_decompression_bomb_and_zero_size(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(png_of_claimed_size(20_000, 10_000))
    assert message_of(tmp_path / "bomb.png").endswith("more than 178 million pixels; cut it into tiles")
    (tmp_path / "zero.png").write_bytes(png_of_claimed_size(0, 10))
    message_of(tmp_path / "zero.png")


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "mode"), [((5000, 10_000), "RGB"), ((9000, 12_000), "L")])
def test_large_images_are_read_without_a_warning(tmp_path: Path, shape: tuple[int, int], mode: str) -> None:
    stored = Image.new(mode, (shape[1], shape[0]), "black")
    ImageDraw.Draw(stored).point((shape[1] - 1, 7), fill="white")
    path = save(tmp_path / "large.png", stored, compress_level=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = read_image(path)
    assert image.shape == (*shape, 3)
    assert image[7, -1].tolist() == [255, 255, 255]
    assert image[8, -1].tolist() == [0, 0, 0]


# --------------------------------------------------------------------------------------------------------------- masks


@pytest.mark.parametrize(
    ("low", "high", "defect"),
    [(0, 255, True), (0, 1, True), (5, 200, True), (0, 128, True), (0, 127, False), (1, 5, False), (0, 0, False)],
)
def test_the_mask_rule(tmp_path: Path, low: int, high: int, defect: bool) -> None:
    values = np.full((HEIGHT, WIDTH), low, np.uint8)
    values[2, 3:6] = high
    mask = read_mask(save(tmp_path / "m.png", values), (HEIGHT, WIDTH))
    assert mask.dtype == bool
    assert np.argwhere(mask).tolist() == ([[2, 3], [2, 4], [2, 5]] if defect else [])


@pytest.mark.parametrize(("high", "defect"), [(65535, True), (255, True), (1, True), (32768, True), (300, False)])
def test_the_mask_rule_for_sixteen_bit(tmp_path: Path, high: int, defect: bool) -> None:
    values = np.zeros((HEIGHT, WIDTH), np.uint16)
    values[2, 3] = high
    mask = read_mask(save(tmp_path / "m.png", values), (HEIGHT, WIDTH))
    assert np.argwhere(mask).tolist() == ([[2, 3]] if defect else [])


def test_coloured_one_bit_and_transparent_masks(tmp_path: Path) -> None:
    marked = np.zeros((HEIGHT, WIDTH), bool)
    marked[4, 1:9] = True
    red = np.where(marked[..., None], [255, 0, 0], 0).astype(np.uint8)
    alpha = np.where(marked, 255, 0).astype(np.uint8)
    cut_out = np.dstack([np.full((HEIGHT, WIDTH, 3), 255, np.uint8), alpha])
    palette = Image.fromarray(np.where(marked, 0, 1).astype(np.uint8)).convert("P")
    palette.putpalette([255, 255, 255, 0, 0, 0])  # index 0 is white: colours count, not indices
    for stored in (red, marked, cut_out, palette):
        np.testing.assert_array_equal(read_mask(save(tmp_path / "m.png", stored), (HEIGHT, WIDTH)), marked)


def test_a_mask_of_another_size_names_both_sizes(tmp_path: Path) -> None:
    path = save(tmp_path / "m.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    with pytest.raises(WeakspotError, match=r"m\.png: the mask is 6×10 .* but its image is 10×6; "):
        read_mask(path, (WIDTH, HEIGHT))


# ------------------------------------------------------------------------------------------------------- preprocessing


def test_torchvision_mode_is_that_of_torchvision(colour: np.ndarray) -> None:
    from torch import from_numpy
    from torchvision.transforms import functional

    image = colour.repeat(8, axis=0).repeat(8, axis=1)
    ours = Preprocess((HEIGHT * 8, WIDTH * 8), "torchvision")(image)
    theirs = functional.normalize(
        from_numpy(image.transpose(2, 0, 1).copy()).float() / 255, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]
    )
    np.testing.assert_allclose(ours, theirs.numpy(), atol=2e-6)


def test_caffe_mode_subtracts_the_mean_in_rgb_order() -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    image[...] = 200, 100, 0
    pixels = Preprocess((32, 48), "caffe")(image)
    assert pixels.shape == (3, 32, 48)
    assert pixels.dtype == np.float32
    assert pixels.transpose(1, 2, 0).flags.c_contiguous  # channels last in memory
    assert [float(channel.min()) for channel in pixels] == [77, -17, -104]
    assert [float(channel.max()) for channel in pixels] == [77, -17, -104]


def test_shrinking_averages_every_pixel() -> None:
    """A defect one pixel wide survives: linear interpolation would step over it."""
    image = np.zeros((320, 960, 3), np.uint8)
    image[:, 480] = 240
    small = Preprocess((32, 96), "caffe").resize(image)
    assert small[:, 48].tolist() == [[24, 24, 24]] * 32
    assert small.sum() == 24 * 3 * 32


def test_each_side_shrinks_or_grows_on_its_own() -> None:
    rows = np.linspace(0, 250, 33).astype(np.uint8)
    image = np.repeat(np.repeat(rows[:, None, None], 990, axis=1), 3, axis=2)
    image[:, ::10] = 255  # one column in ten
    out = Preprocess((66, 99), "caffe").resize(image)
    assert out.shape == (66, 99, 3)
    np.testing.assert_allclose(np.ptp(out, axis=1), 0, atol=1)  # averaged along the width
    assert len(np.unique(out[:, 0, 0])) > 60  # interpolated along the height, not repeated


def test_the_same_size_changes_nothing_and_long_images_work(colour: np.ndarray) -> None:
    image = colour.repeat(6, axis=0).repeat(6, axis=1)
    np.testing.assert_array_equal(Preprocess((36, 60), "caffe").resize(image), image)
    np.testing.assert_array_equal(Preprocess((36, 60), "caffe").resize(image[:, ::-1]), image[:, ::-1])
    assert Preprocess((64, 32), "caffe").resize(np.full((40_000, 33, 3), 9, np.uint8)).tolist() == [[[9] * 3] * 32] * 64


@pytest.mark.parametrize("shape", [(40, 50), (40, 50, 4), (0, 50, 3), (3, 40, 50)])
def test_other_arrays_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(WeakspotError, match="uint8 RGB array"):
        Preprocess((32, 32), "caffe").resize(np.zeros(shape, np.uint8))
    with pytest.raises(WeakspotError, match="float64"):
        Preprocess((32, 32), "caffe")(np.zeros((40, 50, 3)))


def test_preprocess_round_trips_through_a_dict() -> None:
    preprocess = Preprocess((224, 320), "torchvision")
    assert preprocess.to_dict() == {"image_size": [224, 320], "mode": "torchvision"}
    assert Preprocess.from_dict(preprocess.to_dict()) == preprocess


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"image_size": [224, 320], "mode": "cafe"}, "did you mean 'caffe'"),
        ({"image_size": [224, 320], "mode": "caffe", "modes": 1}, "'modes' is not known.*did you mean 'mode'"),
        ({"image_size": [224, 320]}, "'mode' is missing"),
        ({"image_size": [31, 320], "mode": "caffe"}, "data.image_size"),
        ({"image_size": [224, 4097], "mode": "caffe"}, "data.image_size"),
        ({"image_size": 224, "mode": "caffe"}, "data.image_size"),
        ({"image_size": [224.0, 224], "mode": "caffe"}, "data.image_size"),
        ({"image_size": [224, 224, 3], "mode": "caffe"}, "data.image_size"),
    ],
)
def test_impossible_preprocessing_is_refused(values: dict[str, object], expected: str) -> None:
    with pytest.raises(WeakspotError, match=expected):
        Preprocess.from_dict(values)


# ---------------------------------------------------------------------------------------------------------- inspection


def test_inspection_keeps_the_order_and_reads_each_file_once(
    tmp_path: Path, colour: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [save(tmp_path / f"{number}.png", colour[: 1 + number % 5]) for number in range(20)]
    paths[7].write_bytes(b"")
    paths[11].unlink()
    contents = {path: path.read_bytes() for path in paths if path.exists()}
    read: list[Path] = []
    lock = threading.Lock()
    original = Path.read_bytes

    def counted(path: Path) -> bytes:
        with lock:
            read.append(path)
        return original(path)

    monkeypatch.setattr(Path, "read_bytes", counted)
    seen: list[tuple[int, int]] = []
    infos = inspect_images(paths, workers=4, progress=lambda done, total: seen.append((done, total)))
    assert [info.path for info in infos] == paths
    assert seen == [(number, 20) for number in range(1, 21)]
    assert sorted(read) == sorted(path for path in paths if path != paths[11])
    assert [number for number, info in enumerate(infos) if info.error] == [7, 11]
    for number, info in enumerate(infos):
        if info.error is None:
            expected = hashlib.sha256(contents[paths[number]]).hexdigest()
            assert info == ImageInfo(paths[number], expected, 1 + number % 5, WIDTH, None, "RGB")


def test_inspecting_nothing() -> None:
    assert inspect_images([]) == []


def test_nothing_here_needs_torch() -> None:
    import subprocess
    import sys

    code = (
        "import sys, weakspot.data.readers, weakspot.data.splits, weakspot.data.summary, weakspot.data.images;"
        "print([name for name in ('torch', 'pytorch_lightning', 'hydra') if name in sys.modules])"
    )
    source = Path(images.__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(source)}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert result.stdout.strip() == "[]"


def test_keeping_the_ratio_puts_the_image_in_the_middle() -> None:
    preprocess = Preprocess((64, 96), "caffe", "keep_ratio")
    image = np.random.default_rng(0).integers(0, 256, (128, 96, 3), dtype=np.uint8)  # tall: scaled by a half
    rows, columns = preprocess.content((128, 96))
    assert (rows, columns) == (slice(0, 64), slice(24, 72))
    resized = preprocess.resize(image)
    assert np.array_equal(resized[rows, columns], Preprocess((64, 48), "caffe").resize(image))
    assert (resized[:, :24] == resized[:, 24:25]).all()
    assert (resized[:, 72:] == resized[:, 71:72]).all()
    assert Preprocess.from_dict(preprocess.to_dict()) == preprocess


@given(st.integers(1, 500), st.integers(1, 500))
def test_what_an_image_fills_has_its_ratio_and_touches_both_sides(height: int, width: int) -> None:
    preprocess = Preprocess((64, 96), "caffe", "keep_ratio")
    rows, columns = preprocess.content((height, width))
    filled = (rows.stop - rows.start, columns.stop - columns.start)
    assert filled[0] == 64 or filled[1] == 96
    assert 1 <= filled[0] <= 64
    assert 1 <= filled[1] <= 96
    scale = min(64 / height, 96 / width)
    assert abs(filled[0] - max(1, height * scale)) <= 0.5
    assert abs(filled[1] - max(1, width * scale)) <= 0.5


def test_tiles_leave_every_pixel_as_it_is() -> None:
    preprocess = Preprocess((64, 96), "caffe", "tile")
    image = np.random.default_rng(0).integers(0, 256, (70, 96, 3), dtype=np.uint8)
    assert preprocess.input_size((70, 96)) == (96, 96)
    assert preprocess.tile == (64, 96)
    rows, columns = preprocess.content((70, 96))
    assert (rows, columns) == (slice(13, 83), slice(0, 96))
    resized = preprocess.resize(image)
    assert resized.shape == (96, 96, 3)
    assert np.array_equal(resized[rows, columns], image)
    assert (resized[:13] == image[0]).all()
    assert (resized[83:] == image[-1]).all()
    assert Preprocess.from_dict(preprocess.to_dict()) == preprocess


def test_tiles_need_images_that_can_be_stacked_and_whole_cells() -> None:
    preprocess = Preprocess((64, 96), "caffe", "tile")
    assert preprocess.common_input_size([(70, 96), (96, 90)]) == (96, 96)
    with pytest.raises(WeakspotError, match=r"images of one size, and there are 70×96 and 100×96; crop them"):
        preprocess.common_input_size([(70, 96), (100, 96)])
    with pytest.raises(WeakspotError, match=r"data.image_size=\[64, 100\].*multiples of 32"):
        Preprocess((64, 100), "caffe", "tile")
    assert Preprocess((64, 100), "caffe", "keep_ratio").common_input_size([(7, 9), (100, 3)]) == (64, 100)
