import numpy as np
import pytest

from impasto import hdr


def coded(light: float) -> int:
    """The uint16 PQ code of a light in cd/m2."""
    return round(65535 * float(hdr.pq_code(np.array(light))))


def grey(code: int) -> hdr.Deep:
    return np.full((2, 2, 3), code, np.uint16)


def test_pq_is_that_of_the_standard() -> None:
    """Values of ITU-R BT.2100 and BT.2408: 58 % is white paper of 203 cd/m2, 75 % is 1000."""
    assert float(hdr.pq_code(np.array(203.0))) == pytest.approx(0.58, abs=0.002)
    assert float(hdr.pq_code(np.array(1000.0))) == pytest.approx(0.7518, abs=0.001)
    lights = np.array([0.01, 1, 100, 4000])
    np.testing.assert_allclose(hdr.pq_light(hdr.pq_code(lights)), lights, rtol=1e-6)


def test_black_stays_black_and_the_brightest_is_white() -> None:
    assert hdr.to_plain(grey(0), hdr.PQ).max() == 0
    assert hdr.to_plain(grey(coded(1000)), hdr.PQ).min() >= 254
    assert hdr.to_plain(grey(65535), hdr.PQ).min() == 255
    assert hdr.to_plain(grey(0), hdr.HLG).max() == 0
    assert hdr.to_plain(grey(65535), hdr.HLG).min() >= 254


def test_mid_tones_are_left_and_highlights_kept_apart() -> None:
    """A light of 0.18 of white paper is what a camera makes a grey card of."""
    card = hdr.to_plain(grey(coded(0.18 * 203)), hdr.PQ)[0, 0, 0]
    assert card == pytest.approx(255 * 0.18 ** (1 / 2.4), abs=2)
    levels = [int(hdr.to_plain(grey(coded(light)), hdr.PQ)[0, 0, 0]) for light in (50, 100, 203, 400, 600, 900)]
    assert levels == sorted(set(levels))
    assert levels[-2] > 240


@pytest.mark.parametrize("transfer", [hdr.PQ, hdr.HLG])
def test_grey_stays_grey_and_hues_stay(transfer: int) -> None:
    ramp = np.repeat(np.linspace(0, 65535, 64, dtype=np.uint16)[None, :, None], 3, axis=2)
    plain = hdr.to_plain(ramp, transfer).astype(int)
    assert np.ptp(plain, axis=2).max() <= 1
    assert np.diff(plain[0, :, 0]).min() >= 0
    red = hdr.to_plain(np.array([[[42000, 20000, 20000]]], np.uint16), transfer, wide=False)[0, 0]
    assert red[0] > red[1] + 50
    assert red[1] == red[2]


def test_wide_colours_become_those_of_bt709() -> None:
    """BT.2020's green is far outside BT.709: its red must be clipped at nought, not wrap round."""
    green = np.array([[[0, coded(203), 0]]], np.uint16)
    assert hdr.to_plain(green, hdr.PQ)[0, 0, 0] == 0
    assert hdr.to_plain(green, hdr.PQ, wide=False)[0, 0].tolist()[::2] == [0, 0]
