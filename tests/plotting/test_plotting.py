"""Figures and animations: what the pages rely on."""

import base64
import io
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image

from lecture_pkg.plotting import COLORS, animate, covariance_ellipse, density_2d, show_images


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def moving_point(alt: str = 'a point "moves"') -> str:
    figure, axis = plt.subplots(figsize=(2, 2))
    axis.set_xlim(-0.1, 0.4)
    (point,) = axis.plot([0.0], [0.0], "o")
    return animate(figure, lambda i: point.set_data([i / 10], [0.0]), 4, alt=alt).data


def test_player_is_the_same_every_time_and_fetches_nothing():
    player = moving_point()
    assert player == moving_point()
    assert not re.search(r"<link|https?://|class=\"fa ", player)


def test_player_says_what_it_shows_and_holds_every_frame():
    player = moving_point()
    assert 'alt="a point &quot;moves&quot;"' in player
    assert 'aria-label="frame"' in player
    frames = re.findall(r'data:image/png;base64,([^"]*)"', player)
    assert len(set(frames)) == 4
    for frame in frames:
        Image.open(io.BytesIO(base64.b64decode(frame))).verify()


def test_two_players_do_not_share_their_names():
    names = [set(re.findall(r"_anim_img\w+", moving_point(alt))) for alt in ("one", "two")]
    figure, axis = plt.subplots(figsize=(2, 2))
    other = animate(figure, lambda i: axis.set_title(str(i)), 4, alt="one").data
    assert names[0].isdisjoint(re.findall(r"_anim_img\w+", other))


def test_pictures_keep_their_pixels_in_place():
    x = torch.arange(18.0).reshape(2, 9)
    figure = show_images(x, columns=2)
    drawn = [axis.images[0].get_array() for axis in figure.axes]
    np.testing.assert_array_equal(drawn[1], [[9, 10, 11], [12, 13, 14], [15, 16, 17]])


@pytest.mark.bad_input
def test_pictures_that_are_no_squares_are_refused():
    with pytest.raises(ValueError, match=r"a row has 12 pixels.*square"):
        show_images(torch.zeros(3, 12))


def test_density_is_drawn_with_x_to_the_right_and_y_upwards():
    _, axis = plt.subplots()
    density_2d(
        axis, lambda x: -((x - torch.tensor([2.0, -1.0])) ** 2).sum(1), (-3.0, 3.0, -3.0, 3.0)
    )
    drawn = np.asarray(axis.images[0].get_array())
    row, column = np.unravel_index(drawn.argmax(), drawn.shape)
    at = np.linspace(-3, 3, len(drawn))
    assert (at[column], at[row]) == pytest.approx((2.0, -1.0), abs=0.03)
    assert axis.images[0].origin == "lower"


def test_ellipse_lies_at_its_mahalanobis_distance():
    mean = torch.tensor([1.0, -2.0], dtype=torch.float64)
    cov = torch.tensor([[2.0, 0.7], [0.7, 0.5]], dtype=torch.float64)
    _, axis = plt.subplots()
    ellipse = covariance_ellipse(axis, mean, cov, color=COLORS["blue"], radius=1.5)
    angles = np.linspace(0, 2 * np.pi, 24)
    on_line = ellipse.get_patch_transform().transform(
        np.column_stack([np.cos(angles), np.sin(angles)])
    )
    deviation = on_line - mean.numpy()
    distance = np.einsum("ni,ij,nj->n", deviation, np.linalg.inv(cov.numpy()), deviation) ** 0.5
    np.testing.assert_allclose(distance, 1.5, rtol=1e-6)
