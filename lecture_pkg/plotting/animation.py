"""Animations that play on the page without anything from elsewhere."""

import base64
import hashlib
import html
import io
import re
from collections.abc import Callable

import matplotlib.pyplot as plt
from IPython.display import HTML
from matplotlib.animation import FuncAnimation
from matplotlib.figure import Figure
from PIL import Image

# matplotlib's player draws its buttons with an icon font that it links from a CDN; these
# characters are in every font.
_GLYPHS = {
    "fa-minus": "−",
    "fa-plus": "+",
    "fa-fast-backward": "|◀",
    "fa-step-backward": "◁",
    "fa-play fa-flip-horizontal": "◀",
    "fa-pause": "‖",
    "fa-play": "▶",
    "fa-step-forward": "▷",
    "fa-fast-forward": "▶|",
}


def animate(
    figure: Figure,
    update: Callable[[int], object],
    n_frames: int,
    *,
    alt: str,
    interval: int = 200,
    dpi: int = 90,
) -> HTML:
    """Return a player for the frames that `update(0)`, ..., `update(n_frames - 1)` draw.

    The same frames give the same HTML, so that a notebook that is run again shows no difference.
    The figure is closed.

    Args:
        figure: the figure that `update` draws on.
        update: called with the number of the frame.
        n_frames: number of frames; about 40 keep a page light.
        alt: what the animation shows, for readers who cannot see it.
        interval: milliseconds between frames.
        dpi: resolution of the frames.
    """

    def draw(frame: int) -> None:
        update(frame)

    animation = FuncAnimation(figure, draw, frames=n_frames, init_func=lambda: None)
    with plt.rc_context({"savefig.dpi": dpi, "figure.dpi": dpi, "animation.embed_limit": 64}):
        player = animation.to_jshtml(fps=round(1000 / interval), default_mode="once")
    plt.close(figure)
    return HTML(_self_contained(player, alt))


def _self_contained(player: str, alt: str) -> str:
    player = re.sub(r"<link[^>]*>", "", player)
    for icon, glyph in _GLYPHS.items():
        drawn = f'<span aria-hidden="true">{glyph}</span>'
        player = player.replace(f'<i class="fa {icon}"></i>', drawn)
    player = re.sub(r'data:image/png;base64,([^"]*)"', _in_few_colors, player)
    random_id = player.split('id="_anim_img', 1)[1].split('"', 1)[0]
    stable_id = hashlib.sha256(player.replace(random_id, "").encode()).hexdigest()[:16]
    player = player.replace(random_id, stable_id)
    player = player.replace("<img id=", f'<img alt="{html.escape(alt)}" id=')
    return player.replace('type="range" class=', 'type="range" aria-label="frame" class=')


def _in_few_colors(frame: re.Match[str]) -> str:
    """Shrink one frame to a third: flat drawings need no more than 64 colours."""
    picture = Image.open(io.BytesIO(base64.b64decode(frame.group(1).replace("\\\n", ""))))
    smaller = io.BytesIO()
    picture.convert("RGB").quantize(64).save(smaller, "PNG", optimize=True)
    return f'data:image/png;base64,{base64.b64encode(smaller.getvalue()).decode()}"'
